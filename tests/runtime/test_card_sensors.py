"""Readings of a card by NVIDIA's driver, simulated: there is none here."""

import json
import os
from types import SimpleNamespace

import pynvml
import pytest
import small_run
import torch
from tensorboard.backend.event_processing import event_accumulator

from traiNNer.runtime.card import CardSensors

CARD = torch.device("cuda", 0)
GIB = 2**30


@pytest.fixture
def driver(monkeypatch):
    """A card of 8 GiB, of which this process has 2 and another 3."""
    mine = SimpleNamespace(pid=os.getpid(), usedGpuMemory=2 * GIB)
    said = {
        "nvmlInit": None,
        "nvmlDeviceGetHandleByUUID": "handle",
        "nvmlDeviceGetPowerUsage": 215_500,
        "nvmlDeviceGetTemperature": 71,
        "nvmlDeviceGetCurrentClocksThrottleReasons": pynvml.nvmlClocksThrottleReasonGpuIdle,
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=5 * GIB, total=8 * GIB),
        "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=1, usedGpuMemory=None), mine],
    }
    asked = []

    def answer(name):
        def ask(*arguments):
            asked.append((name, *arguments))
            if isinstance(said[name], Exception):
                raise said[name]
            return said[name]

        return ask

    for name in said:
        monkeypatch.setattr(pynvml, name, answer(name))
    properties = SimpleNamespace(uuid="1234-abcd")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1 * GIB)
    return said, asked


def test_the_driver_is_asked_for_the_card_by_its_own_name(driver):
    said, asked = driver
    readings = CardSensors(CARD).read()
    assert ("nvmlDeviceGetHandleByUUID", "GPU-1234-abcd") in asked
    assert readings == {
        "power_watts": 215.5,
        "temperature_celsius": 71,
        "throttled": 0.0,
        "memory_of_others": 3 / 8,
    }


def test_heat_and_power_limits_are_throttling_and_idling_is_not(driver):
    said, _ = driver
    sensors = CardSensors(CARD)
    said["nvmlDeviceGetCurrentClocksThrottleReasons"] = pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
    assert sensors.read()["throttled"] == 1.0
    assert sensors.warnings() == [
        "other processes hold 38% of the card's memory",
        "the card's clocks are lowered by heat (hardware)",
    ]


def test_in_a_container_that_hides_processes_what_torch_reserved_counts_as_own(driver):
    said, _ = driver
    said["nvmlDeviceGetComputeRunningProcesses"] = []
    assert CardSensors(CARD).read()["memory_of_others"] == 4 / 8


def test_a_sensor_that_is_missing_leaves_the_others(driver):
    said, _ = driver
    said["nvmlDeviceGetPowerUsage"] = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    assert "power_watts" not in (readings := CardSensors(CARD).read())
    assert readings["temperature_celsius"] == 71


def test_without_a_driver_or_a_card_nothing_is_read_and_nothing_fails(driver):
    said, asked = driver
    said["nvmlInit"] = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    assert CardSensors(CARD).read() == {}
    assert CardSensors(CARD).warnings() == []
    asked.clear()
    assert CardSensors(torch.device("cpu")).read() == {}
    assert not asked


def test_readings_are_part_of_every_training_record_and_curves_of_the_system(tmp_path, monkeypatch):
    small_run.write_data(tmp_path)
    monkeypatch.setattr(CardSensors, "read", lambda self: {"power_watts": 215.5, "memory_of_others": 0.25})
    file = small_run.write_options(tmp_path, small_run.options(tmp_path, total_iter=10))
    printed = small_run.train(file, "logger.use_tb_logger=true", "val.val_enabled=false")
    assert printed.returncode == 0, printed.stderr
    assert "other processes hold 25% of the card's memory" in printed.stdout
    records = (tmp_path / "experiments/small/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["card"]["power_watts"] for line in records] == [215.5, 215.5]
    events = event_accumulator.EventAccumulator(str(tmp_path / "experiments/tb_logger/small"))
    events.Reload()
    assert [point.value for point in events.Scalars("system/power_watts")] == [215.5, 215.5]


def test_a_run_without_a_card_records_none(tmp_path):
    small_run.write_data(tmp_path)
    file = small_run.write_options(tmp_path, small_run.options(tmp_path, total_iter=5))
    assert small_run.train(file, "val.val_enabled=false").returncode == 0
    (line,) = (tmp_path / "experiments/small/metrics.jsonl").read_text().splitlines()
    assert "card" not in json.loads(line)
