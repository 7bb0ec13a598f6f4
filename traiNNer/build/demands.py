"""Numbers that each are allowed and together ask for more than the machine has: said before anything is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from traiNNer.archs import NETWORKS
from traiNNer.archs.outline import outline
from traiNNer.options import Options
from traiNNer.registry import ConfigError
from traiNNer.runtime.memory import host_memory_limit

_BYTES = 3 * 4  # of a pixel: three float32
_GIB = 2**30


def too_large(options: Options) -> list[str]:
    """A line for a batch whose images alone, and for each network whose weights alone, do not fit into memory."""
    return [*_batch(options), *_networks(options)]


def _networks(options: Options) -> list[str]:
    memory, lines = host_memory_limit(), []
    scale = {"scale": options.scale}
    for key, spec in _described(options):
        if spec is None or NETWORKS.find(spec["type"]) is None:
            continue
        given = scale if "scale" in NETWORKS.parameters(spec["type"]) else {}
        try:
            with outline():
                net = NETWORKS.build({**given, **spec})
        except ConfigError:  # said where it is built
            continue
        needed = 4 * sum(parameter.numel() for parameter in net.parameters())
        if needed > memory:
            lines.append(
                f"{key}: its weights take {needed / _GIB:,.0f} GiB, and this machine has {memory / _GIB:,.0f}; "
                "take fewer channels or layers"
            )
    return lines


def _described(options: Options) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    yield "network_g", options.network_g
    yield "network_d", options.network_d
    yield "network_g_teacher", options.network_g_teacher


def _batch(options: Options) -> list[str]:
    data, memory = options.datasets.get("train"), host_memory_limit()
    if data is None or not data.lq_size:
        return []
    samples = data.batch_size_per_gpu if isinstance(data.batch_size_per_gpu, int) else 1
    needed = samples * data.lq_size**2 * (1 + options.scale**2) * _BYTES
    if needed <= memory:
        return []
    return [
        f"datasets.train.lq_size: a batch of {samples:,} patches of {data.lq_size:,} LQ pixels each way takes "
        f"{needed / _GIB:,.0f} GiB before a network sees it, and this machine has {memory / _GIB:,.0f}; "
        "lower lq_size or batch_size_per_gpu"
    ]
