"""spandrel's modules made trainable here: any size, plain output, input left alone, blocks computed twice."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from traiNNer.archs import NetworkFacts
from traiNNer.archs.padding import allowed_size, mirrored


@functools.cache
def adapted(kind: type[nn.Module]) -> type[nn.Module]:
    """A class of networks whose forward pass takes any size and gives one tensor.

    The image is mirrored up to the size that `facts` ask for, the output cropped. A copy goes in, because some
    networks write into their input; of several outputs the first is taken. Names of weights stay, because it is
    a subclass and no wrapper.
    """

    class Network(kind):
        facts: NetworkFacts
        square: bool
        autocasts: bool

        def forward(self, x_NCHW: Tensor) -> Tensor:
            """`(n, c, h, w)` to `(n, c, h * scale, w * scale)`, not clamped."""
            facts, sides = self.facts, x_NCHW.shape[-2:]
            height, width = (
                allowed_size(side, least=facts.min_size, multiple=facts.multiple_of) for side in sides
            )
            if self.square:
                height = width = max(height, width)
            inner = mirrored(x_NCHW, height, width).clone()
            if self.autocasts:
                out = super().forward(inner)
            else:
                with torch.autocast(inner.device.type, enabled=False):
                    out = super().forward(inner)
            if isinstance(out, tuple):
                out = out[0]
            return out[..., : sides[0] * facts.scale, : sides[1] * facts.scale]

    Network.__name__ = Network.__qualname__ = kind.__name__
    return Network


def recompute_blocks(net: nn.Module, kinds: Collection[str]) -> None:
    """Let the blocks of these classes forget what is inside them, and compute it again for the gradient.

    The gradient is the same: random numbers are drawn again from the same state, and running statistics of
    batch normalisation move once. Names of weights stay.
    """
    for module in list(net.modules()):
        if type(module).__name__ in kinds:
            module.__class__ = _recomputed(type(module))


@functools.cache
def _recomputed(kind: type[nn.Module]) -> type[nn.Module]:
    class Block(kind):
        def forward(self, *arguments: Any) -> Any:
            """What the block computes."""
            if not (self.training and torch.is_grad_enabled()):
                return super().forward(*arguments)
            return checkpoint(
                super().forward,
                *arguments,
                use_reentrant=False,
                context_fn=lambda: (contextlib.nullcontext(), _statistics_at_rest(self)),
            )

    Block.__name__ = Block.__qualname__ = kind.__name__
    return Block


@contextlib.contextmanager
def _statistics_at_rest(module: nn.Module) -> Iterator[None]:
    """What batch normalisation gathers goes into copies, which are thrown away."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    kept = [dict(norm._buffers) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        norm._buffers.update({key: t if t is None else t.clone() for key, t in buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)
