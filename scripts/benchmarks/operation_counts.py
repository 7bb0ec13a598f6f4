"""How many operations a step asks of torch, and how often it reads the device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_READS = ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy")
"""Methods of a tensor that bring its values to the host."""


class Operations(TorchDispatchMode):
    """Counts what torch is asked to compute while it is in force."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See `TorchDispatchMode`. Views cost nothing on any device."""
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def counted_reads() -> Iterator[list[str]]:
    """The names of the methods by which tensors come to the host meanwhile."""
    reads: list[str] = []
    originals = {name: getattr(Tensor, name) for name in _READS}

    def counting(name: str) -> Callable[..., Any]:
        def read(self: Tensor, *args: Any) -> Any:
            reads.append(name)
            return originals[name](self, *args)

        return read

    for name in _READS:
        setattr(Tensor, name, counting(name))
    try:
        yield reads
    finally:
        for name, original in originals.items():
            setattr(Tensor, name, original)


def operations_and_reads(step: Callable[[], None], steps: int) -> tuple[float, float]:
    """Operations and host reads per step, over whole windows."""
    with counted_reads() as reads, Operations() as operations:
        for _ in range(steps):
            step()
    return operations.count / steps, len(reads) / steps
