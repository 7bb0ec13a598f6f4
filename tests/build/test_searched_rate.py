"""`lr: auto` in a configuration."""

import json
import re

import pytest
import small_run
import torch
from automations.simulate import facts

from traiNNer.automations.rate.rate_rise import LearningRateRise
from traiNNer.automations.rate.written_rate import WrittenRateTrial
from traiNNer.build.automations import LEARNING_RATE, build_supervisor, searches_rate
from traiNNer.build.check import check_parts
from traiNNer.build.facts import anchor_loss
from traiNNer.build.lint import unwise
from traiNNer.build.model import build_losses
from traiNNer.build.replay import beginning
from traiNNer.losses import asks_networks
from traiNNer.options import load_options
from traiNNer.registry import ConfigError

CPU = torch.device("cpu")
AUTO = {"type": "AdamW", "lr": "auto"}
ADVERSARIAL = {"losses": [{"type": "L1Loss"}, {"type": "GANLoss", "loss_weight": 0.1}]}


def loaded(folder, **train):
    tree = small_run.options(folder, **train)
    if "optim_d" in train:
        tree["network_d"] = {"type": "munet", "num_feat": 8, "ch_mult": [1, 2]}
    if not (folder / "demo").exists():
        small_run.write_data(folder)
    return load_options(small_run.write_options(folder, tree), check=check_parts)


def test_the_word_is_taken_for_a_rate_and_kept(tmp_path):
    options = loaded(tmp_path, optim_g=AUTO)
    assert searches_rate(options) and options.train.optim_g["lr"] == "auto"
    assert not searches_rate(loaded(tmp_path))


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"optim_g": {"type": "Adadelta", "lr": "auto"}}, "optim_g.lr: auto is for .*AdamW.*SGD"),
        ({"optim_g": {"type": "AdamW", "lr": "automatic"}}, "optim_g.lr: should be a number"),
        (ADVERSARIAL | {"optim_d": AUTO}, "optim_d.lr: auto is for both networks or for none"),
        (
            ADVERSARIAL | {"optim_g": AUTO, "optim_d": {"type": "Adam", "lr": 1e-4}},
            "optim_d.lr: auto is for both",
        ),
    ],
)
def test_what_cannot_be_searched_is_said(tmp_path, train, said):
    with pytest.raises(Exception, match=said):
        loaded(tmp_path, **train)


def test_both_networks_may_be_auto(tmp_path):
    assert searches_rate(loaded(tmp_path, **ADVERSARIAL, optim_g=AUTO, optim_d=AUTO))


def anchor(folder, losses):
    """Label of the anchor of such losses, and whether it can score a trial."""
    judged = {"optim_d": AUTO} if {"type": "GANLoss"} in losses else {}
    found = build_losses(loaded(folder, losses=losses, optim_g=AUTO, **judged), CPU)
    return anchor_loss(found), not asks_networks(found[anchor_loss(found)].module)


@pytest.mark.parametrize(
    ("losses", "label", "scores"),
    [
        (["GANLoss", "SSIMLoss"], "ssim", True),
        (["SSIMLoss", "CharbonnierLoss"], "charbonnier", True),
        ([{"type": "L1Loss", "loss_weight": 0}, "CharbonnierLoss", "SSIMLoss"], "charbonnier", True),
        ([{"type": "MSELoss", "start_iter": 50}, "CharbonnierLoss"], "charbonnier", True),
        ([{"type": "MSELoss", "start_iter": 50}, "GANLoss"], "mse", True),
        (["GANLoss"], "gan", False),
    ],
)
def test_others_are_compared_with_a_loss_that_is_on_and_needs_no_other_network(
    tmp_path, losses, label, scores
):
    spelled = [{"type": loss} if isinstance(loss, str) else loss for loss in losses]
    assert anchor(tmp_path, spelled) == (label, scores)


def test_no_rate_is_searched_where_no_loss_can_score_a_trial(tmp_path):
    options = loaded(tmp_path, losses=[{"type": "GANLoss"}], optim_g=AUTO, optim_d=AUTO)
    with pytest.raises(ConfigError, match="add one, such as L1Loss, or write a rate"):
        build_supervisor(options, facts(scores_trials=False), settled_from=0)


def scheduler(**options):
    return {"training_automations": {"enabled": True, LEARNING_RATE: {"enabled": True, **options}}}


@pytest.mark.parametrize(
    ("train", "tried"),
    [
        (scheduler(), True),
        (scheduler(max_lr_factor=1.5), False),
        (scheduler(monitor_only=True), False),
        (scheduler() | {"optim_g": AUTO}, False),
        ({}, False),
    ],
)
def test_a_written_rate_is_tried_where_the_scheduler_may_double_it(train, tried, tmp_path):
    options = loaded(tmp_path, total_iter=2000, **train)
    supervisor, _ = beginning(options, facts(total_iter=2000))
    assert (WrittenRateTrial.name in supervisor.automations) == tried
    for other in (facts(total_iter=1399), facts(total_iter=2000, judged_losses=["gan"])):
        assert WrittenRateTrial.name not in beginning(options, other)[0].automations


@pytest.mark.parametrize(
    ("optimizer", "total", "changes", "raised"),
    [
        ("SGD", 2000, {}, True),
        ("AdamW", 2000, {}, False),
        ("SGD", 1399, {}, False),
        ("SGD", 2000, {"judged_losses": ["gan"]}, False),
        ("SGD", 2000, {"warmup_iter": 200}, False),  # which leaves no time for it
    ],
)
def test_a_rate_is_raised_where_that_was_measured(optimizer, total, changes, raised, tmp_path):
    options = loaded(tmp_path, total_iter=total, optim_g={"type": optimizer, "lr": "auto"})
    run = facts(total_iter=total, optimizer=optimizer, **changes)
    assert (LearningRateRise.name in beginning(options, run)[0].automations) == raised


@pytest.mark.parametrize(
    ("total", "said"),
    [
        (1399, "the starting rate 0.0005 stays: .*below 1,400 steps"),
        (2000, "trials of 10 steps and more, 100 in all"),
    ],
)
def test_a_check_says_what_the_search_will_do(total, said, tmp_path):
    options = loaded(tmp_path, total_iter=total, optim_g=AUTO)
    assert (total < 1400) == any("1,400 steps" in remark.text for remark in unwise(options))
    printed = small_run.train(tmp_path / "run.yml", "--check")
    assert re.search(f"optim_g.lr: auto: {said}", printed.stdout + printed.stderr)


def test_a_run_too_short_to_search_keeps_the_starting_rate_and_says_so(tmp_path):
    small_run.write_data(tmp_path)
    tree = small_run.options(tmp_path, total_iter=4, optim_g=AUTO, losses=[{"type": "L1Loss"}])
    done = small_run.train(small_run.write_options(tmp_path, tree))
    assert done.returncode == 0, done.stderr
    run = tmp_path / "experiments" / "small"
    (line,) = map(json.loads, (run / "decisions.jsonl").read_text().splitlines())
    assert (line["old"], line["new"]) == (5e-4, 5e-4) and "too short" in line["reason"]
    assert "lr: auto" in (run / "resolved.yml").read_text()
