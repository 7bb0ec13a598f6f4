"""Telling memory that does not suffice from other mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

_MESSAGES = (
    "can't allocate memory: you tried to allocate",
    "not enough memory: you tried to allocate",
    "CUDA out of memory. Tried to allocate",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "HIP out of memory. Tried to allocate",
    "HIP error: out of memory",
    "Triton Error [HIP]: out of memory",
    "HIPBLAS_STATUS_ALLOC_FAILED",
    "HIPFFT_ALLOC_FAILED",
    "MPS backend out of memory",
)
"""How torch's allocator on the CPU (Linux, Windows), the driver and libraries of a card, and Apple's say it.

Of torch's allocator on a card the class of the error tells, but where the compiler words it anew."""
_OF_MANY_CAUSES = (
    "unable to find an engine to execute this computation",
    "CUDNN_STATUS_NOT_SUPPORTED",
)
"""What cuDNN says when no kernel got its workspace, and also when it has no kernel at all."""


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
    if not isinstance(error, RuntimeError):
        return False
    if any(words in str(error) for words in _OF_MANY_CAUSES):
        return _an_allocation_failed()
    return any(words in str(error) for words in _MESSAGES)


def _an_allocation_failed() -> bool:
    """Whether torch's allocator has refused memory of a card in this process.

    torch tries cuDNN's kernels in turn and catches the refusal of a workspace; only this count tells of it.
    """
    if not torch.cuda.is_initialized():
        return False
    # In torch the count is of one device; a process that trains uses one.
    return torch.cuda.memory_stats_as_nested_dict().get("num_ooms", 0) > 0
