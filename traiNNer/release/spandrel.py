"""A plug-in for spandrel: programs that are built on it load our networks that it does not know by itself.

import spandrel
import traiNNer.release.spandrel

traiNNer.release.spandrel.install()
model = spandrel.ModelLoader().load_from_file("2x-Name.safetensors")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from spandrel import (
    MAIN_REGISTRY,
    Architecture,
    ArchRegistry,
    ArchSupport,
    ImageModelDescriptor,
    ModelTiling,
    SizeRequirements,
    StateDict,
)
from torch import nn

from traiNNer.archs import NETWORKS, NetworkFacts
from traiNNer.archs.detectors import DETECTORS, Guess
from traiNNer.archs.loading import Loaded, load_with_metadata, network_of
from traiNNer.registry import ConfigError

NAMES = ("paragonsr2", "paragonsr2_dual", "paragonsr2_magic", "spanplus", "mosrv2", "rtmosr")
"""The networks that spandrel learns."""
IDENTITY = "traiNNer"
"""Under which they are in its registry."""


def install(registry: ArchRegistry = MAIN_REGISTRY, *, told: Mapping[str, Any] | None = None) -> None:
    """Teach spandrel our networks. Further calls change nothing.

    Files are recognised by the names of their tensors, after all architectures that are registered already.

    Args:
        registry: Where the architecture is added; by default what every `ModelLoader` uses.
        told: Parameters for files whose tensors do not tell them, such as {"upsampler_alpha": 0.0} for all
            ParagonSR2 but Stream; without them such files are refused. spandrel hands on tensors alone:
            metadata are read by `load_from_file`.
    """
    registry.add(ArchSupport.from_architecture(_OwnNetworks(told or {})), ignore_duplicates=True)


def without_ours(registry: ArchRegistry = MAIN_REGISTRY) -> ArchRegistry:
    """What programs have that know nothing of this plug-in, whether it is installed here or not."""
    bare = ArchRegistry()
    bare.add(*(support for support in registry if support.architecture.id != IDENTITY))
    return bare


def load_from_file(path: str | Path) -> ImageModelDescriptor[nn.Module]:
    """Any file that this program can load, as spandrel describes models; metadata tell what tensors do not.

    Raises:
        ValueError: For a file of no known network, weights that do not fit, and a parameter that neither
            tensors nor metadata tell.
    """
    return _described(load_with_metadata(path), _OwnNetworks({}))


class _OwnNetworks(Architecture[nn.Module]):
    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(id=IDENTITY, name="ParagonSR2, SPANPlus, MoSRv2, RTMoSR", detect=_is_ours)
        self._told = told

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[nn.Module]:
        """The network of these weights.

        Raises:
            ValueError: For weights that do not fit, and a parameter that they do not tell.
        """
        guess = _guess(state_dict)
        assert guess is not None, "spandrel has asked before"
        if missing := [name for name in guess.asks if name not in self._told]:
            raise ConfigError(
                f"tensors of {guess.type} do not tell {' and '.join(missing)}: read the file by "
                "traiNNer.release.spandrel.load_from_file, or give install(told={...}) the value"
            )
        return _described(network_of(state_dict, {}, **{name: self._told[name] for name in guess.asks}), self)


def _described(loaded: Loaded, architecture: Architecture[nn.Module]) -> ImageModelDescriptor[nn.Module]:
    facts = cast(NetworkFacts, loaded.net.facts)
    return ImageModelDescriptor(
        loaded.net,
        loaded.net.state_dict(),
        architecture=architecture,
        purpose="Restoration" if facts.scale == 1 else "SR",
        tags=[loaded.type],
        supports_half=False,  # not measured outside of ONNX
        supports_bfloat16=False,
        scale=facts.scale,
        input_channels=facts.channels,
        output_channels=facts.channels,
        size_requirements=SizeRequirements(minimum=facts.min_size, multiple_of=facts.multiple_of),
        tiling=ModelTiling.DISCOURAGED if facts.tile_margin is None else ModelTiling.SUPPORTED,
    )


def _is_ours(state_dict: StateDict) -> bool:
    return _guess(state_dict) is not None


def _guess(state_dict: StateDict) -> Guess | None:
    NETWORKS.names()  # imports every family, and with it what it recognises
    detector = next((d for d in DETECTORS if d.applies(state_dict)), None)
    try:
        found = detector and detector.infer(state_dict)
    except (ConfigError, KeyError):  # a generation that is not supported, or names like ours by chance
        return None
    return found if found and found.type in NAMES else None
