"""How much memory is in use, on systems that say it in other ways than Linux, and on other devices."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from traiNNer.runtime import memory
from traiNNer.runtime.cpus import usable_cpus
from traiNNer.runtime.memory import HostMemory, MpsMemory, free_memory, memory_source

MIB = 2**20


def test_without_proc_the_peak_is_read_and_covers_what_was_freed_again(tmp_path):
    source = HostMemory(tmp_path)  # no /proc in it, as on Windows and macOS
    total = psutil.virtual_memory().total
    assert source.peak() == pytest.approx(psutil.Process().memory_info().rss / total, rel=0.2)
    room = memory._highest_resident(psutil.Process()) - psutil.Process().memory_info().rss
    before = source.peak()
    np.ones(room + 200 * MIB, np.uint8)  # above all that was ever in use, and freed at once
    assert source.peak() - before > 0.9 * 200 * MIB / total
    assert source.peak() - before < 0.5 * 200 * MIB / total  # nothing has risen since


def test_windows_says_the_peak_of_a_process_by_another_name():
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=3, peak_wset=7))
    assert memory._highest_resident(process) == 7


def test_a_system_without_the_module_resource_has_no_limits_and_no_peak(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory.address_space_limit() is None
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=3))
    assert memory._highest_resident(process) == 0


def test_apples_driver_is_asked_for_its_own_memory(monkeypatch):
    said = {"driver_allocated_memory": 30, "recommended_max_memory": 120, "current_allocated_memory": 20}
    for name, value in said.items():
        monkeypatch.setattr(torch.mps, name, lambda value=value: value)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: said.update(emptied=True))
    source = memory_source(torch.device("mps"))
    assert isinstance(source, MpsMemory)
    assert source.peak() == 0.25
    source.restart()
    assert said["emptied"]
    assert free_memory(torch.device("mps")) == 100


@pytest.mark.parametrize(("fraction", "usable"), [(1.0, 80), (0.5, 50), (0.3, 30), (0.1, 20)])
def test_what_a_card_has_left_is_what_others_and_a_limit_on_this_process_leave(monkeypatch, fraction, usable):
    """A card of 100 MiB: others hold 20, this process 20, of which tensors take 15."""
    said = {
        "max_memory_reserved": 20 * MIB,
        "memory_reserved": 20 * MIB,
        "memory_allocated": 15 * MIB,
        "mem_get_info": (60 * MIB, 100 * MIB),
        "reset_peak_memory_stats": None,
    }
    for name, value in said.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda.memory, "get_per_process_memory_fraction", lambda device: fraction)
    card = torch.device("cuda", 0)
    assert memory_source(card).peak() == pytest.approx(20 / usable)
    assert free_memory(card) == pytest.approx((usable - 15) * MIB, abs=1)


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/app\n", {"app/cpu.max": "150000 100000", "cpu.max": "max 100000"}, 1),
        ("0::/app\n", {"app/cpu.max": "max 100000"}, None),
        ("3:cpu,cpuacct:/x\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "100000"}, 1),
        ("3:cpu:/x\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ("3:cpu:/x\n", {"cpu/cpu.cfs_quota_us": "-1"}, None),
        ("0::/\n", {"cpu.max": "max"}, None),
    ],
)
def test_processors_are_those_that_affinity_and_cgroups_leave(
    tmp_path, monkeypatch, membership, files, expected
):
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: [3, 4, 5], raising=False)
    texts = {"proc/self/cgroup": membership, **{f"sys/fs/cgroup/{p}": t for p, t in files.items()}}
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text + ("" if text.endswith("\n") else "\n"))
    assert usable_cpus(tmp_path) == (expected or 3)


def test_processors_are_counted_in_one_place():
    package = Path(memory.__file__).parents[1]
    counting = [path.name for path in package.rglob("*.py") if "cpu_count(" in path.read_text("utf-8")]
    assert counting == ["cpus.py"]


def test_without_affinity_all_processors_count(tmp_path, monkeypatch):
    monkeypatch.delattr(psutil.Process, "cpu_affinity")  # macOS
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert usable_cpus(tmp_path) == 6
