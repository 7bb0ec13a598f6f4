"""From options to the networks, with the weights that they begin from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from traiNNer.archs import NetworkFacts, build_network
from traiNNer.archs.loading import fitted, load_weights, other_network
from traiNNer.archs.weights_file import read_weights
from traiNNer.models.precision import Precision
from traiNNer.options import Options
from traiNNer.registry import ConfigError

_log = logging.getLogger(__name__)


def build_generator(options: Options, precision: Precision) -> nn.Module:
    """The network to train, with pretrained weights where the options name a file."""
    path = options.path
    weights = path.pretrain_network_g, path.param_key_g, path.strict_load_g
    return network_with_weights({"scale": options.scale, **(options.network_g or {})}, weights, precision)


def build_discriminator(options: Options, patch: int, precision: Precision) -> nn.Module:
    """The discriminator, likewise, for patches of `patch` pixels each way."""
    path = options.path
    weights = path.pretrain_network_d, path.param_key_d, path.strict_load_d
    net = network_with_weights(options.network_d or {}, weights, precision)
    facts: NetworkFacts = net.facts  # type: ignore[assignment]  # every registered network has it
    if 0 < patch < facts.min_size:
        raise ConfigError(
            f"network_d: needs patches of at least {facts.min_size} pixels, and those of the ground truth have "
            f"{patch} (datasets.train.lq_size times scale)"
        )
    return net


def network_with_weights(
    spec: Mapping[str, Any], weights: tuple[str | None, str | None, bool], precision: Precision
) -> nn.Module:
    """The network of a description on the device of the run.

    Args:
        spec: `type` and parameters.
        weights: The file to begin from or None, the key of the weights in it, and whether all have to fit.
        precision: Device and memory order.
    """
    net = build_network(spec)
    path, key, strict = weights
    if path:
        _pretrain(net, spec, path, key, strict=strict)
    net = net.to(precision.device)
    if precision.channels_last:
        net = net.to(memory_format=torch.channels_last)
    return net


def _pretrain(net: nn.Module, spec: Mapping[str, Any], path: str, key: str | None, *, strict: bool) -> None:
    """Load weights, or say of which other network they are."""
    weights, metadata = read_weights(path, key)
    try:
        copied = load_weights(net, fitted(net, weights, metadata), strict=strict)
    except ConfigError as error:
        other = other_network(weights, metadata, spec)
        lines = [f"does not fit: {other}"] if other else []
        raise ConfigError([f"{path}: {line}" for line in (*lines, *error.problems)]) from None
    _log.log(logging.INFO if copied.whole else logging.WARNING, "%s: %s", path, copied.line)
