"""The line that says how the training goes: every loss and the share of clipped steps, in one line that fits."""

import json
import re

import pytest
from automations.simulate import controls, window
from tiny import make_trainer
from training.test_resume import kill_at, resumed

from traiNNer.control import Clip
from traiNNer.runtime.signals import StopSignal
from traiNNer.tracking.interval import Interval
from traiNNer.tracking.live_line import hours_minutes
from traiNNer.tracking.training_line import WIDTH, TrainingLine

LR = {"g": 2e-4}
MANY = dict.fromkeys(("l1", "mssim", "perceptual", "gan", "hsluv", "cosim", "ldl", "lpips", "ff"), 0.123)


def shown(losses, critic=None, scores="psnr 31.234 (best 31.500 at 120,000)"):
    line = TrainingLine(500_000, 8)
    line.scores = scores
    return line.text(123_450, 0.2469, LR, losses | {"total": sum(losses.values())}, critic)


def test_one_loss_is_the_sum_and_is_not_said_twice():
    assert "  loss 2.0000e-02  lr " in shown({"l1": 0.02})


def test_each_of_several_losses_is_shown_under_the_name_that_users_know():
    assert "  loss 1.2000e-01 (l_g_l1 2.00e-02, l_g_perceptual 1.00e-01)  lr " in shown(
        {"l1": 0.02, "perceptual": 0.1}
    )


@pytest.mark.parametrize("critic", [None, {"l_d": 0.7, "out_d_real": 0.1, "out_d_fake": -0.1}])
@pytest.mark.parametrize("count", range(1, len(MANY) + 1))
def test_the_line_fits_and_counts_the_losses_that_do_not(count, critic):
    line = shown(dict(list(MANY.items())[:count]), critic)
    named, more = len(re.findall("l_g_", line)), re.search(r"(\d+) more", line)
    assert len(line) <= WIDTH and line.endswith("0.100" if critic else "120,000)")
    assert count == 1 or named + int(more[1] if more else 0) == count


def test_the_share_of_clipped_steps_is_shown_where_something_is_clipped():
    def line(**in_force):
        interval, event = Interval(), window(10, norms=[0.01] * 7 + [1.0] * 3)
        for row in range(10):
            interval.add(event, row, controls(**in_force))
        found = TrainingLine(100, 4)
        found.end_interval(interval)
        return found.text(10, 0.1, LR, {"l1": 0.02, "total": 0.02})

    assert "  clipped 30%" in line(clip={"g": Clip(0.5, 0.5)})
    assert "clipped" not in line()


def test_what_is_left_is_counted_in_samples():
    """As where the batch was doubled after step 100: every step from there on is two."""
    line, interval = TrainingLine(1_000, 4), Interval()
    interval.add(window(10, batch=8, seconds=10.0), 0, controls())
    line.end_interval(interval)
    speed = interval.speed.samples_per_s
    text = line.text(400, 0.7, LR, {"l1": 0.02, "total": 0.02})
    assert text.startswith("iter 400/1,000 (70% of the samples)  ")
    assert f"  ETA {hours_minutes(300 * 4 / speed)}  " in text


def test_the_lines_of_a_run_show_its_losses(tmp_path, caplog):
    caplog.set_level("INFO")
    make_trainer(tmp_path, total=4).fit(StopSignal())
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("iter ")]
    assert lines and all("(l_g_l1 " in line and ", l_g_char " in line for line in lines)
    shares = [re.search(r"\((\d+)% of the samples\)", line)[1] for line in lines]
    assert shares == [
        "50",
        "100",
    ]  # of 16 samples in 4 steps; the first line is of a step within a window of 3


def test_every_record_has_the_rate_of_its_own_step_also_after_a_kill(tmp_path):
    """Lines every 2 steps in windows of 3; the rate rises in 5 steps and falls after 12."""
    kill_at(resumed(tmp_path), 7)  # the state is of step 5, in an open window
    last = resumed(tmp_path)
    last.fit(StopSignal())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    told = {row["iter"]: row["lr"]["g"] for row in rows if row["kind"] == "train"}
    expected = {}
    for step in range(2, 21, 2):
        last.model.networks.set_learning_rates(step - 1, 1.0)
        expected[step] = last.model.networks.learning_rates["g"]
    assert told == expected and len(set(told.values())) == 4
