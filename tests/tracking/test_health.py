"""health.jsonl, the table of the first step and the diagnosis say what the run measured."""

import io
import json
import math
import random
from dataclasses import replace

import pytest
import torch
from automations.simulate import controls, facts, noisy, validation, window
from rich.console import Console
from tiny import TIMES, make_model, make_trainer, run_folder
from training.test_resume import kill_at, records, resumed

from traiNNer.automations import Supervisor
from traiNNer.automations.data_cost import DataCost
from traiNNer.automations.diagnosis import RunNumbers, diagnose
from traiNNer.automations.gradients.stabilizer import GradientFlowStabilizer
from traiNNer.control import Clip
from traiNNer.events import ValidationEvent
from traiNNer.models.sr_model import WeightedLoss
from traiNNer.runtime.signals import StopSignal
from traiNNer.tracking.health import Health
from traiNNer.tracking.recorder import Recorder
from traiNNer.tracking.tables import diagnosis_table, first_step_table
from traiNNer.training.structure import structure

HARDWARE = ("memory_peak", "memory_free", "it_per_s", "samples_per_s", "data_wait_share")


def health_of(print_freq=10, weights=None, automations=None, data_cost=None, **changes):
    weights = weights or {"l1": lambda step: 1.0}
    losses = {label: WeightedLoss(torch.nn.Identity(), weight) for label, weight in weights.items()}
    supervisor = Supervisor(automations or {})
    return Health(facts(**changes), losses, supervisor, print_freq=print_freq, data_cost=data_cost)


def feed(health, events, **in_force):
    lines = []
    for event in events:
        if isinstance(event, ValidationEvent):
            lines.append(health.validation(event))
        else:
            lines += [line.record for line in health.window(event, controls(**in_force))]
    return lines


# --- lines -------------------------------------------------------------------------------------------------


def test_the_records_name_the_chain_where_it_keeps_the_training_waiting(tmp_path, caplog):
    health = health_of(data_cost=DataCost(sample_ms=4.0, workers=1, processors=8))
    recorder = Recorder(folder := run_folder(tmp_path), total_iter=100, health=health)
    recorder.start_new()
    waiting = [  # 40 samples in 0.2 s, of which one worker can make 50; then in 1 s
        window(10, losses=[1.0] * 10, seconds=0.2, data_wait=0.5),
        window(20, losses=[1.0] * 10, seconds=1.0, data_wait=0.5),
    ]
    with caplog.at_level("INFO"):
        for event in waiting:
            recorder.event(event, controls(), event.step)
    first, second = [record.getMessage() for record in caplog.records if "data wait" in record.getMessage()]
    assert "data wait 50% (degrading)  ETA" in first and "data wait 50%  ETA" in second
    rows = [json.loads(line) for line in folder.file("metrics.jsonl").read_text().splitlines()]
    assert [row["speed"]["degrading_share"] for row in rows] == pytest.approx([1.0, 0.32])


def test_a_line_holds_the_steps_since_the_line_before():
    norms = [0.01 * n for n in range(1, 10)] + [math.nan]
    events = [
        window(10, losses=[1.0] * 10, norms=norms, seconds=2.0, data_wait=0.5),
        window(20, losses=[3.0] * 10, update_ratio=None),
    ]
    lines = feed(health_of(4), events, clip={"g": Clip(0.055, 0.05)}, loss_factor={"l1": 2.0}, lr_factor=0.8)
    assert [line["iter"] for line in lines] == [4, 8, 12, 16, 20]
    assert [line["loss"] for line in lines] == [1.0, 1.0, 2.0, 3.0, 3.0]
    assert [line["samples"] for line in lines] == [32, 64, 96, 128, 160]
    first, second, third = lines[:3]
    assert first["grad_norm"] == {"g": pytest.approx({"median": 0.025, "p95": 0.04, "max": 0.04})}
    assert [line["grad_clip_ratio"]["g"] for line in lines] == [0.0, 0.75, 0.5, 0.0, 0.0]
    assert [line["skipped_steps"]["g"] for line in lines] == [0, 0, 1, 0, 0]
    assert third["grad_norm"]["g"]["max"] == 0.09  # of the finite ones
    assert (first["it_per_s"], first["samples_per_s"]) == (5.0, 40.0)
    assert second["data_wait_share"] == 0.5
    assert (first["loss_factor"], first["lr_factor"], first["clip_threshold"]) == (
        {"l1": 2.0},
        0.8,
        {"g": 0.055},
    )


def test_what_nobody_measured_is_left_out():
    lines = feed(health_of(), [window(20, gradient_at_output={}, update_ratio=None), window(30)])
    assert not {"loss_gradient_share", "update_ratio", "status"} & lines[0].keys()
    assert lines[1]["update_ratio"] == 1e-3
    assert lines[1]["loss_gradient_share"] == {"l1": 1.0}
    assert all(value is not None for line in lines for value in line.values())


def test_the_stabilizer_reports_on_the_flow_of_gradients():
    stabilizer = GradientFlowStabilizer(facts=facts())
    health = health_of(automations={"GradientFlowStabilizer": stabilizer})
    for step in (10, 20, 30):
        event = window(step, norms=[0.03] * 6 + [1e3] * 4)
        line = health.window(event, controls())[0].record
        stabilizer.observe(event)
        stabilizer.decide(controls())
    assert (line["stability_score"], line["status"], line["explosions"]) == (0.6, "unstable", 8)
    assert list(health.flow()) == ["g"] and health.flow()["g"].explosions == 12


def test_a_validation_has_every_metric_with_its_best_and_bicubic():
    higher, lower = [], []
    health = health_of()
    for step, score in ((100, 30.0), (200, 31.0), (300, 29.0)):
        higher += feed(health, [validation(step, [score, score + 1])])
        lower += feed(health_of_lpips(), [validation(step, [score / 100], metric="lpips", bicubic=0.5)])
    assert [h["sets"]["val"]["psnr"] for h in higher] == [
        {"value": 30.5, "best": 30.5, "bicubic": 20.0},
        {"value": 31.5, "best": 31.5, "bicubic": 20.0},
        {"value": 29.5, "best": 31.5, "bicubic": 20.0},
    ]
    assert [h["sets"]["val"]["lpips"]["best"] for h in lower] == [0.30, 0.30, 0.29]


def test_the_best_belongs_to_the_images_that_are_measured():
    """Of a run that is resumed with others under the name of the set."""
    health = health_of()
    before, after = validation(100, [30.0, 31.0]), validation(200, [24.0])
    lines = feed(health, [before, after, validation(300, [23.0])])
    assert [line["sets"]["val"]["psnr"]["best"] for line in lines] == [30.5, 24.0, 24.0]


LPIPS = []


def health_of_lpips():
    """One for the whole test above."""
    LPIPS.append(LPIPS[0] if LPIPS else health_of())
    return LPIPS[0]


# --- the first step ----------------------------------------------------------------------------------------


def test_the_first_step_has_a_table_of_every_loss_and_no_other_has(caplog):
    caplog.set_level("INFO")
    health = health_of(
        weights={"l1": lambda step: 1.0, "gan": lambda step: 0.1, "late": lambda step: step / 1e3}
    )
    both = {"losses": [0.05] * 10, "gradient_at_output": {"l1": 0.2, "gan": 6.0, "late": 1.0}}
    for step in (10, 20):
        event = window(step, **both)
        event.losses.update({"gan": [0.7] * 10, "late": [0.3] * 10})
        health.window(event, controls())
    table = [record.getMessage().split() for record in caplog.records]
    assert table == [
        ["losses", "at", "the", "first", "step", "value", "weight", "weighted", "gradient", "norm", "share"],
        ["l1", "0.05", "1", "0.05", "0.2", "25.0%"],
        ["gan", "0.7", "0.1", "0.07", "6", "75.0%"],
    ]
    assert health.numbers().loss_shares["late"] == pytest.approx(0.019 / 0.819)


def test_a_real_run_logs_the_table_once(tmp_path, caplog):
    caplog.set_level("INFO")
    make_trainer(tmp_path, total=8).fit(StopSignal())
    assert sum("losses at the first step" in record.getMessage() for record in caplog.records) == 1
    assert sum(record.getMessage().startswith("  char ") for record in caplog.records) == 1


# --- the diagnosis -----------------------------------------------------------------------------------------


def diagnosed(*events, **in_force):
    health = health_of()
    feed(health, events, **in_force)
    return health.numbers()


def test_the_size_of_updates_is_judged_over_the_run_and_not_by_its_annealed_end():
    annealed = [window(10 * k, update_ratio=1e-3 if k < 80 else 1e-7) for k in range(1, 100)]
    assert diagnosed(*annealed).update_ratio == 1e-3
    long = health_of()
    feed(long, [window(10 * k, update_ratio=1e-3) for k in range(1, 3000)])
    assert len(long.state.update_ratios) <= 1000


def test_steps_that_were_not_applied_are_counted():
    halted = window(10, norms=[0.01] * 7 + [math.nan] * 3)
    assert diagnosed(halted, window(20)).skipped_share == 0.15


def test_the_diagnosis_has_the_numbers_of_the_run():
    numbers = diagnosed(
        window(2010, norms=[0.01] * 9 + [1.0], seconds=3.0, data_wait=0.1),
        window(2020, seconds=1.0, data_wait=0.5),
        validation(2020, [30.0, 32.0]),
        clip={"g": Clip(0.5, 0.5)},
    )
    assert numbers.grad_clip_ratio == 0.05
    assert numbers.skipped_share == 0.0
    assert numbers.update_ratio == 1e-3
    assert (numbers.metric, numbers.score, numbers.bicubic, numbers.warm) == ("val/psnr", 31.0, 20.0, True)
    assert numbers.data_wait_share == pytest.approx(0.2)
    assert numbers.loss_shares == {"l1": 1.0}
    assert numbers.residual_ratio is None


@pytest.mark.parametrize(("factor", "expected"), [(3.0, 3.0), (1.0, 1.0), (0.3, 1.0)])
def test_the_trend_is_the_largest_growth_over_500_steps(factor, expected):
    growth = [[0.03 * factor ** (n / 50)] * 10 for n in range(50)]
    calm = [[0.03 * factor] * 10] * 50
    events = [window(10 * n + 10, norms=norms) for n, norms in enumerate(growth + calm)]
    assert diagnosed(*events).norm_doubling == pytest.approx(expected, rel=0.05)
    assert diagnosed(*events[:40]).norm_doubling is None


def course(level, windows=400, cv=0.2, seed=1):
    """A loss whose windows have the levels of a function of their share of the run."""
    rng = random.Random(seed)
    return [window(10 * k + 10, losses=noisy(rng, level(k / windows), cv)) for k in range(windows)]


@pytest.mark.parametrize(
    ("level", "change"),
    [
        (lambda at: 0.05, 0.0),
        (lambda at: 0.05 * math.exp(-at), -0.22),
        (lambda at: 0.05 * math.exp(at), 0.28),
    ],
)
def test_the_loss_of_the_last_quarter_is_told_with_its_noise(level, change):
    numbers = diagnosed(*course(level))
    assert 0.0 < numbers.loss_noise < 0.05
    assert numbers.loss_change == pytest.approx(change, abs=2 * numbers.loss_noise)


def test_a_long_course_is_kept_in_few_levels_and_says_the_same():
    long, health = course(lambda at: 0.05 * math.exp(-at), windows=850), health_of()
    feed(health, long)
    assert len(health.state.course.levels) < 400
    numbers = health.numbers()
    assert numbers.loss_change == pytest.approx(-0.22, abs=2 * numbers.loss_noise)
    assert numbers.loss_noise < 0.05


def test_the_course_knows_no_factors_and_no_losses_that_ask_the_discriminator():
    health = health_of(loss_weights={"l1": 1.0, "gan": 0.1}, judged_losses=["gan"])
    for k, event in enumerate(course(lambda at: 0.05)):
        event.losses["gan"] = [1.0 + k] * 10
        health.window(event, controls(loss_factor={"l1": 1.0 + 1e-4 * k}))
    assert abs(health.numbers().loss_change) < 0.03


def test_the_spread_of_norms_is_within_a_window_and_not_their_trend():
    norms = [[0.03 * math.exp(0.1 * n + 0.4 * (-1) ** i) for i in range(10)] for n in range(50)]
    events = [window(10 * n + 10, norms=of) for n, of in enumerate(norms)]
    assert diagnosed(*events).norm_spread == pytest.approx(0.4)


def test_unclipped_runs_have_no_clip_ratio():
    assert diagnosed(window(10)).grad_clip_ratio is None


def test_the_closing_table_leaves_out_what_was_not_measured(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.fit(StopSignal())
    findings = trainer._recorder.diagnosis()
    console = Console(width=200, file=io.StringIO())
    console.print(diagnosis_table(findings))
    text = console.file.getvalue()
    assert "norm trend" not in text
    for found in findings:
        if found.value is not None:
            assert found.quantity in text
            assert found.advice in text
    verdicts = {found.quantity: found.verdict for found in findings}
    assert verdicts["norm trend"] == "unknown"
    assert {"loss share l1", "loss share char", "waves/psnr vs bicubic"} <= verdicts.keys()


def test_the_closing_table_cuts_no_name_of_an_option_in_a_narrow_terminal():
    console = Console(width=80, file=io.StringIO())
    findings = diagnose(RunNumbers(progress=1.0, data_wait_share=0.5, norm_spread=2.0, residual_ratio=0.2))
    console.print(diagnosis_table(findings))
    assert "num_worker_per_g" in console.file.getvalue()
    assert "\u2026" not in console.file.getvalue()


# --- structure ---------------------------------------------------------------------------------------------


def test_structure_is_1_for_the_truth_and_0_for_interpolation():
    lq = torch.rand(2, 3, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bicubic = torch.nn.functional.interpolate(lq, scale_factor=2, mode="bicubic", antialias=True)
    gt = bicubic + 0.1 * torch.rand(
        bicubic.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    assert structure(gt, gt, lq).tolist() == [[1.0, 1.0, 0.0]] * 2
    assert structure(bicubic, gt, lq)[:, 1].tolist() == [0.0, 0.0]
    halfway = structure((bicubic + gt) / 2, gt, lq)
    assert halfway[:, 1].tolist() == pytest.approx([0.5, 0.5])
    contrast = gt.mean() + 1.5 * (gt - gt.mean())
    assert structure(contrast, gt, lq)[:, 0].tolist() == pytest.approx([1.5, 1.5])


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_flat_image_has_no_structure_to_compare_with(level):
    gt, output = torch.full((1, 3, 24, 20), level), torch.rand(1, 3, 24, 20)
    assert structure(output, gt, torch.full((1, 3, 12, 10), level))[:, :2].isnan().all()
    narrow = torch.rand(1, 3, 24, 2)
    found = structure(narrow, narrow.flip(2), torch.rand(1, 3, 12, 1))
    assert found.isnan().tolist() == [[True, False, False]]


def test_a_shift_of_one_channel_is_told_and_its_noise_is_not():
    gt = torch.rand(2, 3, 24, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    lq = gt[:, :, ::2, ::2]
    green = torch.tensor([0.0, -0.02, 0.01], dtype=torch.float64)[:, None, None]
    mirrored = gt.flip(3)  # other pixels, the same means
    assert structure(mirrored + green, gt, lq)[:, 2].tolist() == pytest.approx([0.02, 0.02])


def test_a_validation_measures_structure_per_image(tmp_path):
    trainer = make_trainer(tmp_path, total=4)
    trainer.fit(StopSignal())
    ratios = trainer.last_validation.sets["waves"].ratios
    assert [len(values) for values in ratios.values()] == [11, 11, 11]
    line = [line for line in records(tmp_path, "health.jsonl") if line["kind"] == "val"][-1]
    assert line["sets"]["waves"]["edge_ratio"] == pytest.approx(sum(ratios["edge_ratio"]) / 11)
    assert 0.0 < line["sets"]["waves"]["edge_ratio"] < 3.0


# --- resuming ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kills", [(1,), (7, 13)])
def test_a_killed_run_has_no_doubled_or_missing_line(tmp_path, kills):
    make_trainer(tmp_path / "a").fit(StopSignal())
    for step in kills:
        kill_at(resumed(tmp_path / "b"), step)
    last = resumed(tmp_path / "b")
    last.fit(StopSignal())
    whole, pieces = (
        [
            {k: v for k, v in line.items() if k not in HARDWARE}
            for line in records(tmp_path / run, "health.jsonl")
        ]
        for run in "ab"
    )
    assert whole == pieces
    assert [line["iter"] for line in whole if line["kind"] == "train"] == list(range(2, 21, 2))
    assert "seconds" in TIMES  # the state holds some, which differ


def test_lines_are_json_also_when_numbers_are_not_finite(tmp_path):
    model = make_model(window=3)
    model.losses["l1"] = model.losses["l1"]._replace(weight_at=lambda step: math.nan)
    make_trainer(tmp_path, total=4, model=model).fit(StopSignal())
    for line in (tmp_path / "health.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(name))


def test_the_table_of_the_first_step_fits_a_terminal_of_100_columns():
    labels = {"l1": 0.25, "perceptual_vgg19": 0.75}
    numbers = dict.fromkeys(labels, 1.2345e-12)
    event = replace(window(0), losses={label: [-1.2345e-12] for label in labels}, gradient_at_output=numbers)
    lines = first_step_table(event, dict.fromkeys(labels, 0.12345), {}, labels)
    in_front = "2026-11-27 01:46:53,123 INFO: "
    assert {len(in_front + line) for line in lines} == {100}
    assert lines[1].index("-1.23") + 10 == lines[0].index("value") + 5
