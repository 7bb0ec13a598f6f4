"""The experiments on the automations: what they put in, what they keep, what they make of it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import write_data

from traiNNer.data.images.image_io import read_image, write_image

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts/benchmarks"


@pytest.fixture
def experiments(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import benchmark_automations
    from automation_experiments import faults, photographs, plans, replay, report, results, runs, settings

    return {
        "script": benchmark_automations,
        **{m.__name__.rpartition(".")[2]: m for m in (faults, photographs, plans, replay, report, results)},
        **{m.__name__.rpartition(".")[2]: m for m in (runs, settings)},
    }


@pytest.fixture
def laboratory(experiments, tmp_path):
    write_data(tmp_path)
    demo = tmp_path / "demo"
    return experiments["runs"].Laboratory(
        experiments["photographs"].Photographs(demo / "train", demo / "val")
    )


def tiny(experiments, **changes):
    return experiments["settings"].Setting(
        **{"seed": 0, "lr": 1e-3, "steps": 60, "validations": 2, **changes}
    )


def test_a_run_keeps_its_score_its_decisions_and_what_was_clipped(experiments, laboratory):
    automations = {name: {} for name in ("IntelligentLearningRateScheduler", "AdaptiveGradientClipping")}
    losses = ({"type": "L1Loss"}, {"type": "MSELoss", "loss_weight": 0.5})
    setting = tiny(experiments, fault="corrupted batches", automations=automations, losses=losses, units=10.0)
    kept = laboratory.run(setting)
    again = laboratory.run(setting)
    assert {**kept, "seconds": 0} == {**again, "seconds": 0}
    assert 5 < kept["psnr"] < 60 and kept["steps"] == 60
    bad = sum(experiments["faults"].corrupted(8 * step, 0) for step in range(60))
    assert kept["clipped"]["corrupted"] == bad > 0 and kept["clipped"]["healthy"] == 60 - bad
    assert [20, "AdaptiveGradientClipping", "grad_clip_threshold"] in [d[:3] for d in kept["decisions"]]
    (step, share), *_ = kept["shares"]
    plain = laboratory.run(replace(setting, automations={}, units=1.0))
    assert share == pytest.approx(10 * plain["shares"][0][1], rel=0.01) and step == 10


def test_memory_that_runs_out_changes_no_weight(experiments, laboratory):
    setting = tiny(experiments, steps=6, validations=1)
    whole, split = (
        laboratory.weights(s, lambda call: False) for s in (setting, replace(setting, micro_batch=4))
    )
    assert torch.equal(laboratory.weights(setting, lambda call: call == 0), split)
    assert torch.allclose(whole, split, rtol=0, atol=1e-5) and not torch.equal(whole, split)


def test_corrupted_batches_depend_on_the_position_alone(experiments):
    class Pixels:
        def batches(self, position, batch, lq_size):
            from traiNNer.data.loader import Batch

            while True:
                yield Batch(torch.full((batch, 4, 4, 3), 10, dtype=torch.uint8), torch.zeros(1))

    loader = experiments["faults"].CorruptedBatches(Pixels(), 3)
    from_start = [next(stream).lq.max().item() for stream in [loader.batches(0, 8, 4)] for _ in range(400)]
    later = [next(stream).lq.max().item() for stream in [loader.batches(800, 8, 4)] for _ in range(300)]
    assert from_start[100:] == later and set(from_start) == {10, 300}
    assert 2 <= from_start.count(300) <= 16


def test_finished_runs_are_skipped_and_changed_rules_run_again(experiments, tmp_path, monkeypatch):
    script, plans = experiments["script"], experiments["plans"]
    asked = []

    class Counting:
        def run(self, setting):
            asked.append(setting)
            return {"psnr": 30.0}

    def run(names=("learning_rate",)):
        asked.clear()
        out = tmp_path / "runs.jsonl"
        results = experiments["results"].Results(out)
        script.run_missing(script.missing_runs(Counting(), names, [0], results), out)
        return len(asked)

    total = len(list(plans.runs(["learning_rate"], [0])))
    assert (run(), run()) == (total, 0)
    assert 0 < run(("interaction",)) < len(list(plans.runs(["interaction"], [0])))  # shared runs are there
    monkeypatch.setitem(experiments["settings"].RULES, "IntelligentLearningRateScheduler", 99)
    assert run() == total - len([s for s in plans.runs(["learning_rate"], [0]) if not s.automations])


def test_differences_are_paired_by_seed(experiments, tmp_path):
    plans, results = experiments["plans"], experiments["results"]
    base, arm = plans.HEALTHY, replace(plans.HEALTHY, automations=plans.LR_ALONE)
    scores = [(base, 0, 30.0), (base, 1, 31.0), (base, 2, 32.0), (arm, 0, 30.1), (arm, 1, 31.2)]
    lines = [
        {"setting": json.loads(setting.with_seed(seed).key), "result": {"psnr": psnr, "decisions": []}}
        for setting, seed, psnr in scores
    ]
    (tmp_path / "runs.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    found = results.Results(tmp_path / "runs.jsonl").difference(arm, base)
    assert found.value == pytest.approx(0.15) and found.seeds == 2
    assert found.reach == pytest.approx(12.706 * 0.1 / math.sqrt(2) / math.sqrt(2), rel=1e-3)
    assert str(results.mean_of([])) == ""
    assert results.score({"psnr": None}) == 0.0


def rising(count, best):
    """Scores of five images in each of `count` validations; the best one is number `best`."""
    rng = np.random.default_rng(0)
    means = [30 - 3 * math.exp(-0.1 * k) - 0.5 * max(0, k - best) for k in range(count)]
    return [[mean + 0.3 * image + rng.normal(0, 0.005) for image in range(5)] for mean in means]


def recorded(experiments, best):
    setting = experiments["plans"].early_stopping()["curves"]["ends at half"]
    every = setting.steps // setting.validations
    curve = [[every * (k + 1), scores] for k, scores in enumerate(rising(setting.validations, best))]
    losses = [[step, 0.05 * step**-0.1] for step in range(10, setting.steps + 1, 10)]
    exhausted = [[step, step > setting.steps / 2] for step, _ in curve]
    run = {"psnr": 30.0, "curve": curve, "losses": losses, "exhausted": exhausted}
    line = {"setting": json.loads(setting.key), "result": run}
    return json.dumps(line)


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_replayed_rules_stop_a_run_that_has_peaked_and_none_that_rises(
    experiments, tmp_path, lower_is_better
):
    def ends(best):
        (tmp_path / "runs.jsonl").write_text(recorded(experiments, best))
        results = experiments["results"].Results(tmp_path / "runs.jsonl")
        rules = experiments["replay"].replayed(results, lower_is_better=lower_is_better)
        return {rule: found["ends at half"][0] for rule, found in rules.items()}

    peaked = ends(best=8)
    assert all(end.stopped and not end.at_new_best and end.saved > 0.1 for end in peaked.values())
    assert all(abs(end.regret) < 1e-9 for end in peaked.values())
    patient = ends(best=100)["patience of 10 validations"]
    assert not patient.stopped and patient.saved == 0.0


def test_the_photographs_are_split_once_and_never_shared(experiments, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(20):
        name = f"data/train/{'T91' if index < 12 else 'General100'}/HR/t{index}.png"
        write_image(tmp_path / name, rng.integers(0, 256, (101, 120 + index, 3), dtype=np.uint8))
    prepare = experiments["photographs"].prepare
    sets = prepare(tmp_path / "data", tmp_path / "out")
    assert prepare(tmp_path / "data", tmp_path / "out") == sets
    train, val = ({path.name for path in (folder / "HR").iterdir()} for folder in sets)
    assert (len(train), len(val)) == (17, 3) and not train & val
    name = min(val)
    assert read_image(sets.val / "HR" / name).shape == (96, 96, 3)
    assert read_image(sets.val / "LRx2" / name).shape == (48, 48, 3)


def test_the_tables_of_the_page_are_those_of_the_recorded_runs(experiments):
    report, docs = experiments["report"], SCRIPTS.parents[1] / "docs"
    results = experiments["results"].Results(docs / "data/automations.jsonl")
    text = (docs / "benchmarks.md").read_text(encoding="utf-8")
    for name, make in report.TABLES.items():
        assert report.with_table(text, name, make(results)) == text, f"run --report: {name} is out of date"
    with pytest.raises(ValueError, match="no place"):
        report.with_table("", "splits", "")
