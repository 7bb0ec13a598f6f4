"""The device of a run and the settings of torch that go with it."""

from __future__ import annotations

import os
import platform

import torch

from traiNNer import __version__
from traiNNer.runtime.memory import keep_freed_memory


def choose_device(num_gpu: int | str, local_rank: int) -> torch.device:
    """The device of this process: a CUDA (or ROCm) card, Apple's, or the CPU; `num_gpu: 0` means the CPU."""
    if num_gpu != 0 and torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    if num_gpu != 0 and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def configure_torch(
    device: torch.device, *, deterministic: bool, fast_matmul: bool, detect_anomaly: bool
) -> None:
    """Settings of torch that hold for the whole process."""
    torch.set_float32_matmul_precision("high" if fast_matmul else "highest")
    torch.backends.cudnn.allow_tf32 = fast_matmul
    torch.backends.cudnn.benchmark = not deterministic
    torch.autograd.set_detect_anomaly(detect_anomaly)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if deterministic != torch.are_deterministic_algorithms_enabled():  # asking imports the compiler
        torch.use_deterministic_algorithms(deterministic)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        keep_freed_memory()


def environment(device: torch.device) -> dict[str, str]:
    """The versions and the hardware that a run uses."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    return {
        "traiNNer": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": f"{device} ({name})",
        "threads": str(torch.get_num_threads()),
    }
