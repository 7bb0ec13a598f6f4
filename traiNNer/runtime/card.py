"""What NVIDIA's driver knows of a card and torch does not: power, temperature, throttling, other processes.

The package `nvidia-ml-py` brings the module `pynvml`; where there is no such driver, nothing is known and nothing
fails.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import pynvml
import torch

_log = logging.getLogger(__name__)

_SLOWED = {
    "nvmlClocksEventReasonSwPowerCap": "its power limit",
    "nvmlClocksThrottleReasonHwSlowdown": "heat or power supply (hardware)",
    "nvmlClocksEventReasonSwThermalSlowdown": "heat",
    "nvmlClocksThrottleReasonHwThermalSlowdown": "heat (hardware)",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": "the power supply",
}
"""Reasons for lower clocks, by the names of their bits; idling and the settings of applications are none."""
_MUCH = 0.1  # share of the memory held by others that is worth a word


class CardSensors:
    """Readings of one card; empty where the driver does not say.

    Args:
        device: Of this process.
    """

    def __init__(self, device: torch.device) -> None:
        self._handle: Any = _handle(device)
        self._device = device

    def read(self) -> dict[str, float]:
        """Power in watts, temperature, whether clocks are lowered (1), share of the memory that others hold."""
        if self._handle is None:
            return {}
        found: dict[str, float] = {}
        for name, ask in {
            "power_watts": lambda: pynvml.nvmlDeviceGetPowerUsage(self._handle) / 1000,
            "temperature_celsius": lambda: pynvml.nvmlDeviceGetTemperature(
                self._handle, pynvml.NVML_TEMPERATURE_GPU
            ),
            "throttled": lambda: float(bool(self._slowed_by())),
            "memory_of_others": self._memory_of_others,
        }.items():
            try:
                found[name] = ask()
            except pynvml.NVMLError:  # a card or a virtual machine that does not have this sensor
                continue
        return found

    def warnings(self) -> list[str]:
        """What at the start of a run stands in its way."""
        found = self.read()
        others = found.get("memory_of_others", 0.0)
        lines = [f"other processes hold {others:.0%} of the card's memory"] if others > _MUCH else []
        if found.get("throttled"):
            lines.append(f"the card's clocks are lowered by {', '.join(self._slowed_by())}")
        return lines

    def _slowed_by(self) -> list[str]:
        bits = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)
        return [words for name, words in _SLOWED.items() if bits & getattr(pynvml, name)]

    def _memory_of_others(self) -> float:
        """Share of the memory that is in use and not by this process.

        In a container the driver knows this process by another number: then what torch has reserved is taken off,
        and the share includes the context of CUDA, some hundred MiB.
        """
        memory = pynvml.nvmlDeviceGetMemoryInfo(self._handle)
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        own = next((p.usedGpuMemory for p in running if p.pid == os.getpid() and p.usedGpuMemory), None)
        if own is None:
            own = torch.cuda.memory_reserved(self._device)
        return max(0, int(memory.used) - own) / int(memory.total)


def _handle(device: torch.device) -> Any:
    """NVML's name of a card; by its UUID, since CUDA_VISIBLE_DEVICES numbers cards anew. None without a driver."""
    if device.type != "cuda" or torch.version.hip:
        return None
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError as error:
        _log.info("no readings of power and temperature: %s", error)
        return None
