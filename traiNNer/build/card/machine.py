"""What the machine is: the card, its driver, the versions, and how fast batches travel to it."""

from __future__ import annotations

import platform

import torch

from traiNNer import __version__
from traiNNer.build.card.settings import Report, Settings
from traiNNer.build.card.steps import time_calls
from traiNNer.runtime.cpus import usable_cpus
from traiNNer.runtime.memory import free_memory


def measure_machine(settings: Settings, report: Report, until: float) -> None:
    """Names and versions first, then the transfers."""
    device = torch.device(settings.device)
    report(
        {
            "traiNNer": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": usable_cpus(),
            "card": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
            "memory_mib": round(free_memory(device) / 2**20),
        }
    )
    if device.type != "cuda":
        return
    report(_capability(device))
    batch = torch.zeros(64 if not settings.tiny else 1, 2**20, dtype=torch.uint8)
    for name, source in (("pageable", batch), ("pinned", batch.pin_memory())):
        taken = time_calls(lambda source=source: source.to(device, non_blocking=True), device, 0.2)
        report({f"{name}_gb_per_second": round(batch.numel() / taken / 1e6, 2)})


def _capability(device: torch.device) -> dict[str, object]:
    """What the card can, and whether this torch holds kernels for it."""
    major, minor = torch.cuda.get_device_capability(device)
    compiled = torch.cuda.get_arch_list()
    return {
        "compute_capability": f"{major}.{minor}",
        "compiled_for": compiled,
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
