"""The dashboard as TensorBoard reads it: what is on it, in which layout, and whole after kills."""

import itertools
import json
import re
import types

import cv2
import numpy as np
import pytest
import small_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from training.automation_runs import decisions, full_trainer, lines
from training.test_resume import kill_at

from traiNNer.runtime.signals import StopSignal
from traiNNer.tracking.tensorboard import Dashboard

HARDWARE = re.compile("system/")


def with_dashboard(root):
    """A run with all automations that goes on from its newest state, if it has one."""
    trainer = full_trainer(root)
    found = trainer._checkpointer.newest_whole_state()
    step = found[1]["progress"]["step"] if found else 0
    trainer._recorder._boards = (
        Dashboard(
            root / "tb", resumed_at=step, metrics=["psnr"], automations=trainer.parts.supervisor.automations
        ),
    )
    if found:
        trainer.load_state_dict(found[1])
    else:
        trainer._recorder.start_new()
    return trainer


@pytest.fixture(autouse=True, scope="module")
def sessions_seconds_apart():
    """TensorBoard reads event files in the order of their names, which begin with the second."""
    with pytest.MonkeyPatch.context() as patch:
        seconds = itertools.count(1_700_000_000)
        clock = types.SimpleNamespace(time=lambda: next(seconds))
        patch.setattr("tensorboard.summary.writer.event_file_writer.time", clock)
        yield


def read(folder):
    return EventAccumulator(str(folder), {"scalars": 0, "tensors": 0, "images": 0}).Reload()


def scalars(folder):
    events = read(folder)
    return {tag: [(p.step, p.value) for p in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def charts_of(events):
    """The patterns of every chart by its title."""
    layout = Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert next(category.title for category in layout.category) == "Run"
    return {c.title: list(c.multiline.tag) for category in layout.category for c in category.chart}


def charts_without_a_curve(events):
    tags = events.Tags()["scalars"]
    charts = charts_of(events).items()
    return [title for title, ps in charts if not any(re.match(p, tag) for p in ps for tag in tags)]


def texts(folder):
    events = read(folder)
    return {
        tag: [(p.step, p.tensor_proto.string_val[0].decode()) for p in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if tag.startswith("decisions/")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    trainer = with_dashboard(root)
    trainer.fit(StopSignal())
    trainer._recorder.close()
    return root


@pytest.mark.parametrize("kills", [(3,), (17, 34)])
def test_a_killed_and_resumed_run_has_every_point_once(whole, tmp_path, kills):
    for step in kills:
        killed = with_dashboard(tmp_path)
        kill_at(killed, step)
        killed._recorder.close()  # the worst case: all that it wrote has reached the disk
    last = with_dashboard(tmp_path)
    last.fit(StopSignal())
    last._recorder.close()
    one, other = scalars(whole / "tb"), scalars(tmp_path / "tb")
    assert one.keys() == other.keys()
    for tag, points in one.items():
        assert [step for step, _ in points] == [step for step, _ in other[tag]], tag
        if not HARDWARE.match(tag):
            assert str(points) == str(other[tag]), tag  # as text, since nan is not equal to itself
    assert texts(whole / "tb") == texts(tmp_path / "tb")


def test_every_decision_is_a_text_and_its_new_value_a_point(whole):
    found, said = scalars(whole / "tb"), texts(whole / "tb")
    for decision in decisions(whole):
        tag = f"decisions/{decision['automation']}"
        assert any(step == decision["iter"] for step, _ in said[f"{tag}/text_summary"])
        if isinstance(decision["new"], int | float):
            point = (decision["iter"], pytest.approx(decision["new"], rel=1e-6))
            assert point in found[f"{tag}/{decision['parameter']}"]
    assert sum(len(points) for points in said.values()) == len(decisions(whole))


def test_the_curves_are_the_numbers_of_the_health_log(whole):
    found = scalars(whole / "tb")
    training = [line for line in lines(whole, "health") if line["kind"] == "train"]
    for tag, name, of in (
        ("train/stability_score", "stability_score", None),
        ("train/explosions", "explosions", None),
        ("train/clip_ratio/g", "grad_clip_ratio", "g"),
        ("train/loss_share/char", "loss_gradient_share", "char"),
        ("control/loss_factor_char", "loss_factor", "char"),
        ("control/batch", "batch", None),
        ("control/micro_batch", "micro_batch", None),
        ("control/lr_factor", "lr_factor", None),
    ):
        measured = [line for line in training if name in line]
        expected = [(line["iter"], line[name] if of is None else line[name][of]) for line in measured]
        assert len(expected) >= 2
        assert found[tag] == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected], tag
    norms = [line["grad_norm"]["g"] for line in training]
    for quantile in ("median", "p95", "max"):
        assert [value for _, value in found[f"train/grad_norm_{quantile}/g"]] == [
            pytest.approx(float(norm[quantile]), rel=1e-6, nan_ok=True) for norm in norms
        ]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Of the command line: everything on, interrupted after 12 steps and resumed to 40."""
    folder = tmp_path_factory.mktemp("real")
    small_run.write_data(folder)
    automations = {"training_automations": True, "dynamic_loss_scheduling": True}
    configuration = small_run.options(folder, **automations)
    configuration["logger"]["use_tb_logger"] = True
    file = small_run.write_options(folder, configuration)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("traiNNer.models.sr_model.UPDATE_RATIO_EVERY", 10)
        for steps in (12, 40):
            done = small_run.train(file, "--auto_resume", f"train.total_iter={steps}")
            assert done.returncode == 0, done.stderr
    return folder / "experiments/tb_logger/small"


def test_every_chart_of_the_layout_has_a_curve_and_every_curve_of_an_automation_a_chart(real):
    events = read(real)
    assert charts_without_a_curve(events) == []
    charts, tags = charts_of(events), events.Tags()["scalars"]
    patterns = [pattern for chart in charts.values() for pattern in chart]
    unseen = [tag for tag in tags if not any(re.match(pattern, tag) for pattern in patterns)]
    assert [tag for tag in unseen if not tag.startswith("decisions/")] == []
    assert {"psnr and its best", "ssim and its best"} <= charts.keys()


def test_a_resumed_run_has_one_point_for_every_training_record(real):
    expected = list(range(5, 41, 5))
    found = scalars(real)
    for tag in ("train/loss/l1", "control/lr_g", "control/clip_threshold_g", "train/clip_ratio/g"):
        assert [step for step, _ in found[tag]] == expected, tag
    validated = [8, 12, 16, 24, 32, 40]  # 12 was the end of the first session
    assert [step for step, _ in found["val/val/psnr"]] == validated
    assert [step for step, _ in found["val_best/val/psnr"]] == validated
    assert len(found["val_bicubic/val/psnr"]) == len(found["val/val/edge_ratio"]) == 6


def test_the_summary_has_the_report_of_the_stabilizer(real):
    summary = json.loads((real.parents[1] / "small/summary.json").read_text())
    flow = summary["gradient_flow"]["g"]
    assert (flow["steps"], flow["status"], flow["learning_rate"]) == (40, "healthy", "keep")
    assert flow["thresholds"][0] == pytest.approx(0.1 / 1e-3**0.5) and len(flow["thresholds"]) > 1


def test_a_state_of_a_session_without_a_dashboard_cuts_nothing(tmp_path):
    first = Dashboard(tmp_path, resumed_at=0, metrics=(), automations=())
    first.scalars(1, {"a": 1.0})
    lengths = first.settle()
    first.scalars(2, {"a": 2.0})
    first.close()
    second = Dashboard(tmp_path, resumed_at=1, metrics=(), automations=())
    second.cut(lengths)
    second.scalars(2, {"a": 3.0})
    second.close()
    assert scalars(tmp_path) == {"a": [(1, 1.0), (2, 3.0)]}


def test_the_hparams_tab_has_what_the_run_was_told_and_its_scores(tmp_path):
    from tensorboard.plugins.hparams.metadata import (
        EXPERIMENT_TAG,
        SESSION_START_INFO_TAG,
        parse_experiment_plugin_data,
        parse_session_start_info_plugin_data,
    )

    small_run.write_data(tmp_path)
    tree = small_run.options(tmp_path, total_iter=2)
    tree["logger"]["use_tb_logger"] = True
    tree["val"] = {"val_freq": 2, "metrics": {"psnr": {"type": "psnr"}}}
    assert small_run.train(small_run.write_options(tmp_path, tree)).returncode == 0
    events = read(tmp_path / "experiments/tb_logger/small")
    told = parse_session_start_info_plugin_data(
        events.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
    ).hparams
    assert told["train.optim_g.lr"].number_value == pytest.approx(1e-3)
    assert told["network_g.type"].string_value == "compact"
    assert told["datasets.train.batch_size_per_gpu"].number_value == 4
    assert not any(name.startswith(("path", "logger")) for name in told)
    tab = parse_experiment_plugin_data(events.SummaryMetadata(EXPERIMENT_TAG).plugin_data.content)
    (metric,) = tab.metric_infos
    assert metric.name.tag == "val/val/psnr"
    assert events.Scalars(metric.name.tag)[-1].step == 2


def test_automations_that_are_off_have_no_charts_and_every_metric_has_one(tmp_path):
    Dashboard(tmp_path, resumed_at=0, metrics=["psnr"], automations=["AdaptiveGradientClipping"]).close()
    titles = charts_of(read(tmp_path)).keys()
    assert {"psnr and its best", "Threshold and norms"} <= titles
    assert not {"Patch", "Factor", "Factors", "Stability"} & titles


def test_each_image_of_a_strip_stands_under_its_name(tmp_path):
    board = Dashboard(tmp_path, resumed_at=0, metrics=(), automations=())
    board.strip(1, "val/a", {name: np.full((20, 64, 3), 9, np.uint8) for name in ("LQ", "bicubic", "GT")})
    board.close()
    (shown,) = read(tmp_path).Images("val/a")
    strip = cv2.imdecode(np.frombuffer(shown.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert strip.shape == (36, 3 * 64, 3) and (strip[16:] == 9).all()
    bands = [strip[:16, left : left + 64] for left in (0, 64, 128)]
    assert all(band.max() > 128 for band in bands)
    assert len({band.tobytes() for band in bands}) == 3
