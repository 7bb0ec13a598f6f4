"""check_card.py: every part runs on the CPU, one that hangs or fails costs the others nothing."""

import json
import multiprocessing
import subprocess
import sys
import time

import pytest
import small_run
import yaml

from traiNNer.build.card import advice
from traiNNer.build.card.page import facts, page
from traiNNer.build.card.processes import PARTS, run_parts
from traiNNer.build.card.settings import Part, Settings
from traiNNer.cli import check_card
from traiNNer.options import load_options

TINY = Settings(device="cpu", tiny=True)


def test_a_trial_on_the_cpu_measures_every_part_and_writes_page_and_figures(tmp_path):
    script = small_run.ROOT / "scripts/check_card.py"
    command = [sys.executable, str(script), "--cpu", "--tiny", "--out", str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert printed.returncode == 0, printed.stdout + printed.stderr
    found = json.loads((tmp_path / "card.json").read_text())
    assert {name: part["status"] for name, part in found["parts"].items()} == {
        part.name: "done" for part in PARTS
    }
    for name in ("precision", "batches", "compile"):
        rows = found["parts"][name]["rows"]
        assert rows and all(row["samples_per_second"] > 0 for row in rows), rows
    (loop,) = found["parts"]["loop"]["rows"]
    assert loop["bare_ms"] > 0 and loop["run_ms"] > 0 and loop["automations_ms"] > 0
    assert [row["workers"] for row in found["parts"]["workers"]["rows"]] == [0, 1]
    paths = [line["path"] for line in found["advice"]]
    assert {"use_amp", "use_compile", "datasets.train.num_worker_per_gpu"} <= set(paths)
    text = (tmp_path / "card.md").read_text()
    assert text.strip() in printed.stdout
    assert all(f"## {part.title}" in text for part in PARTS)


# --- parts that do not end well ----------------------------------------------------------------------------


def _good(settings, report, until):
    report({"network": "a", "samples_per_second": 1.0})


def _hanging(settings, report, until):
    report({"network": "a", "samples_per_second": 2.0})
    time.sleep(60)


def _failing(settings, report, until):
    report({"network": "a", "samples_per_second": 3.0})
    raise ValueError("no such kernel")


def _late(settings, report, until):
    report({"network": "a", "failed": "no time was left"})


def test_what_a_part_found_counts_however_it_ends():
    parts = [
        Part("hanging", "Hanging", 1.0, _hanging),
        Part("failing", "Failing", 5.0, _failing),
        Part("late", "Late", 5.0, _late),
        Part("good", "Good", 5.0, _good),
    ]
    seen = []
    began = time.monotonic()
    outcomes = run_parts(TINY, parts, limit=30, changed=lambda known: seen.append(facts(known, TINY)))
    assert time.monotonic() - began < 15
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "hanging": "cut short",
        "failing": "failed",
        "late": "cut short",
        "good": "done",
    }
    assert outcomes["failing"].error == "ValueError: no such kernel"
    assert outcomes["hanging"].rows == [{"network": "a", "samples_per_second": 2.0}]
    assert outcomes["failing"].rows == [{"network": "a", "samples_per_second": 3.0}]
    assert seen[0]["parts"]["hanging"]["rows"] and seen[0]["parts"]["good"]["status"] == "not measured"


def test_ctrl_c_ends_the_part_that_is_measured():
    def interrupted(known):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_parts(TINY, [Part("hanging", "Hanging", 60.0, _hanging)], limit=60, changed=interrupted)
    assert multiprocessing.active_children() == []


def test_mistakes_are_said_in_words(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    assert check_card.main(["--cpu", "--out", str(tmp_path / "file")]) == 1
    assert "file: File exists" in capsys.readouterr().err
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert check_card.main(["--out", str(tmp_path / "card")]) == 2
    assert "--cpu measures the processor" in capsys.readouterr().err


def test_parts_for_which_no_time_is_left_are_marked():
    outcomes = run_parts(
        TINY, [Part("compile", "Compiling", 9.0, _good)], limit=0, changed=lambda known: None
    )
    assert outcomes["compile"].status == "not measured"
    assert "## Compiling (not measured)" in page(outcomes, TINY)


# --- advice ------------------------------------------------------------------------------------------------


def speeds(**by_setting):
    """Rows of two networks; `bf16_last=300` is 300 samples a second in bfloat16 and channels_last."""
    return [
        {
            "network": network,
            "precision": key.split("_")[0],
            "channels_last": key.endswith("last"),
            "samples_per_second": factor * speed,
        }
        for network, factor in (("a", 1.0), ("b", 0.1))
        for key, speed in by_setting.items()
    ]


def advised(**parts):
    return {line.path: line for line in advice.advise(parts)}


def test_the_fastest_precision_is_advised_where_it_gains_and_bf16_where_both_are_alike():
    lines = advised(precision=speeds(fp32_first=100, tf32_first=150, bf16_last=300, fp16_last=305))
    assert [lines[key].value for key in ("use_amp", "amp_bf16", "fast_matmul")] == ["true", "true", "true"]
    assert "3.05 times" in lines["use_amp"].reason
    lines = advised(precision=speeds(fp32_first=100, bf16_last=100, fp16_last=250))
    assert [lines[key].value for key in ("use_amp", "amp_bf16")] == ["true", "false"]
    lines = advised(precision=speeds(fp32_first=100, tf32_first=150, bf16_first=152, bf16_last=151))
    assert [lines[key].value for key in ("use_amp", "fast_matmul")] == ["false", "true"]


def test_channels_last_is_advised_against_only_where_it_costs():
    lines = advised(precision=speeds(fp32_first=100, bf16_first=300, bf16_last=150))
    assert lines["use_channels_last"].value == "false"
    lines = advised(precision=speeds(fp32_first=100, bf16_first=300, bf16_last=295))
    assert lines["use_channels_last"].value == "true"


@pytest.mark.parametrize(("speed", "value"), [(360, "true"), (320, "false")])
def test_compiling_must_be_worth_its_time(speed, value):
    compiled = speeds(bf16_last=speed)
    lines = advised(precision=speeds(fp32_first=100, bf16_last=300), compile=compiled)
    assert lines["use_compile"].value == value


def test_as_few_workers_as_keep_the_card_busy_and_no_larger_batch_than_is_faster():
    waits = [{"workers": n, "waiting": share} for n, share in ((0, 0.5), (2, 0.04), (8, 0.0), (4, 0.01))]
    assert advised(workers=waits)["datasets.train.num_worker_per_gpu"].value == "2"
    few = advised(workers=waits[:1])["datasets.train.num_worker_per_gpu"]
    assert few.value == "0" and "faster storage" in few.reason
    rows = [
        {"network": "a", "batch": batch, "samples_per_second": speed, "memory_mib": 100 + 5 * batch}
        for batch, speed in ((8, 50), (16, 95), (32, 100), (64, 101))
    ]
    assert advised(batches=rows)["datasets.train.batch_size_per_gpu"].value == "16"
    assert advice.memory_per_sample(rows) == {"a": 5.0}


def test_networks_that_failed_do_not_count():
    rows = [*speeds(fp32_first=100, bf16_last=300), {"network": "c", "failed": "out of memory"}]
    assert advised(precision=rows).keys() == advised(precision=rows[:-1]).keys()
    assert advice.advise({}) == []


def test_the_advice_is_yaml_that_loads(tmp_path):
    small_run.write_data(tmp_path)
    lines = advice.advise(
        {
            "precision": speeds(fp32_first=100, tf32_first=150, bf16_first=300, bf16_last=305),
            "compile": speeds(bf16_last=350),
            "workers": [{"workers": 1, "waiting": 0.0}],
            "batches": [{"network": "a", "batch": 8, "samples_per_second": 5.0}],
        }
    )
    plain = small_run.write_options(tmp_path, small_run.options(tmp_path))
    before = load_options(plain)
    file = tmp_path / "advised.yml"
    file.write_text(advice.as_yaml(lines))

    found = yaml.safe_load(file.read_text())
    assert found["datasets"]["train"] == {"num_worker_per_gpu": 1, "batch_size_per_gpu": 8}
    overrides = [f"{line.path}={line.value}" for line in lines]
    options = load_options(plain, overrides)
    assert options.use_amp and options.amp_bf16 and options.fast_matmul and not before.use_amp
