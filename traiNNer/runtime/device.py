"""The device of a run and the settings of torch that go with it."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Sequence

import torch

from traiNNer import __version__
from traiNNer.registry import ConfigError
from traiNNer.runtime.cpus import usable_cpus
from traiNNer.runtime.memory import keep_freed_memory
from traiNNer.wording import counted

_log = logging.getLogger(__name__)

_TURING = 75  # compute capability 7.5, the oldest of CUDA 13; torch 2.14 is the last built with CUDA 12.6 too
_OLD_CARDS = '"torch<2.15" torchvision --index-url https://download.pytorch.org/whl/cu126'
_NEW_CARDS = "--upgrade torch torchvision --index-url https://download.pytorch.org/whl/cu130"


def choose_device(num_gpu: int | str, local_rank: int, *, local_size: int = 1) -> torch.device:
    """The device of this process: a CUDA (or ROCm) card, Apple's, or the CPU; `num_gpu: 0` means the CPU.

    Cards that are asked for by number and not there are missed in a warning.

    Args:
        num_gpu: As in the options.
        local_rank: This process among those of this machine.
        local_size: How many those are.

    Raises:
        ConfigError: Where the installed torch cannot compute on the card, or there are fewer cards than processes.
    """
    if num_gpu != 0 and torch.cuda.is_available():
        if local_size > (cards := torch.cuda.device_count()):
            raise ConfigError(
                f"torchrun started {counted(local_size, 'process', 'processes')} on this machine, and torch sees "
                f"{counted(cards, 'card')}: --nproc_per_node={cards} (each process has a card of its own); "
                "CUDA_VISIBLE_DEVICES may hide some"
            )
        device = torch.device("cuda", local_rank)
        require_kernels(device)
        return device
    if num_gpu != 0 and torch.backends.mps.is_available():
        return torch.device("mps")
    if isinstance(num_gpu, int) and num_gpu > 0:
        text = "num_gpu: %d, but this runs on the CPU, many times slower: %s; num_gpu: 0 or auto takes it unasked"
        _log.warning(text, num_gpu, why_no_card())
    return torch.device("cpu")


def why_no_card() -> str:
    """The reason why torch offers no CUDA or ROCm card, with what would help where that is known."""
    if not torch.version.cuda and not torch.version.hip:
        return (
            f"the installed torch {torch.__version__} is built for the CPU alone (pip install {_NEW_CARDS})"
        )
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={hidden!r} hides all cards"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).split("\n")[0].split(". Please")[0].rstrip(".")
    return "torch sees no card"


def require_kernels(device: torch.device) -> None:
    """See that the installed torch has code for a card, before its first operation fails without a hint.

    Raises:
        ConfigError: With the command that installs a torch that has.
    """
    if device.type != "cuda" or torch.version.hip:
        return
    capability = torch.cuda.get_device_capability(device)
    if problem := missing_kernels(
        torch.cuda.get_device_name(device), capability, torch.cuda.get_arch_list(), str(torch.__version__)
    ):
        raise ConfigError(problem)


def missing_kernels(
    card: str, capability: tuple[int, int], architectures: Sequence[str], version: str
) -> str | None:
    """What to tell the owner of a card for which a torch was not built; None where it was.

    Args:
        card: Its name.
        capability: Its compute capability, such as (8, 6).
        architectures: As of `torch.cuda.get_arch_list`: `sm_86` runs on 8.6 and later 8.x, `compute_90` on 9.0
            and everything after it.
        version: Of torch.
    """
    own = capability[0] * 10 + capability[1]
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        number = int("".join(filter(str.isdigit, digits)) or 0)  # sm_90a
        same = number // 10 == capability[0] and digits.isdigit()
        if (number == own) or (number < own and (kind == "compute" or same)):
            return None
    remedy = f"pip install {_OLD_CARDS if own < _TURING else _NEW_CARDS}"
    return (
        f"{card} has compute capability {capability[0]}.{capability[1]}, for which the installed torch {version} "
        f"has no kernels ({', '.join(architectures)}): {remedy}; or train on the CPU by num_gpu: 0"
    )


def configure_torch(
    device: torch.device, *, deterministic: bool, fast_matmul: bool, detect_anomaly: bool
) -> None:
    """Settings of torch that hold for the whole process."""
    torch.set_float32_matmul_precision("high" if fast_matmul else "highest")
    torch.backends.cudnn.allow_tf32 = fast_matmul
    torch.backends.cudnn.benchmark = not deterministic
    _use_own_cpus()
    torch.autograd.set_detect_anomaly(detect_anomaly)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if deterministic != torch.are_deterministic_algorithms_enabled():  # asking imports the compiler
        torch.use_deterministic_algorithms(deterministic)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        keep_freed_memory()


def _use_own_cpus() -> None:
    """No more threads than processors: torch counts those of the machine, also where a container gives fewer."""
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > usable_cpus():
        torch.set_num_threads(usable_cpus())


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
