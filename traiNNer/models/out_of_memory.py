"""Telling memory that does not suffice from other mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

_MESSAGES = (
    "can't allocate memory: you tried to allocate",
    "not enough memory: you tried to allocate",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "HIP error: out of memory",
    "HIPBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)
"""How torch's allocator on the CPU (Linux, Windows), the driver and libraries of a card, and Apple's say it."""


def unless_out_of_memory(work: Callable[[], T]) -> T | None:
    """What `work` returns, or None when memory does not suffice.

    By then the exception and all that its frames held are gone.
    """
    try:
        return work()
    except RuntimeError as error:  # of which torch's is one
        if not is_out_of_memory(error):
            raise
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch means that memory did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MESSAGES)
