import math

import pytest

from traiNNer.automations.diagnosis import RunNumbers, diagnose

HEALTHY = {
    "progress": 1.0, "loss_change": -0.1, "loss_noise": 0.02, "stability": 0.99, "norm_spread": 0.3,
    "grad_clip_ratio": 0.01, "skipped_share": 0.0, "norm_doubling": 1.1, "update_ratio": 1e-3,
    "main_loss": "l1",
    "loss_shares": {"l1": 0.8, "gan": 0.2}, "residual_ratio": 0.8, "edge_ratio": 0.95, "colour_shift": 6e-4,
    "metric": "val/psnr",
    "score": 30.0, "bicubic": 28.0, "data_wait_share": 0.02,
}  # fmt: skip


def row(quantity, **changes):
    rows = {r.quantity: r for r in diagnose(RunNumbers(**{**HEALTHY, **changes}))}
    return rows[quantity]


def test_what_has_no_value_gets_neither_a_verdict_nor_advice():
    """Ratios where all images are flat, a metric where bicubic meets every image."""
    missing = {"residual_ratio": math.nan, "edge_ratio": math.nan, "bicubic": math.nan}
    for quantity in ("residual_ratio", "edge_ratio", "val/psnr vs bicubic"):
        found = row(quantity, **missing)
        assert (found.value, found.verdict, found.advice) == (None, "unknown", "")


def test_a_healthy_run_gets_no_advice():
    rows = diagnose(RunNumbers(**HEALTHY))
    assert [r.verdict for r in rows] == ["ok"] * 14 and all(r.advice == "" for r in rows)


@pytest.mark.parametrize(
    "quantity, changes, verdict, words",
    [
        (
            "loss, last quarter",
            {"loss_change": -0.005, "loss_noise": 0.01},
            "warning",
            "flat: learning has stopped",
        ),
        (
            "loss, last quarter",
            {"loss_change": 0.005, "loss_noise": 0.01},
            "warning",
            "flat: learning has stopped",
        ),
        ("loss, last quarter", {"loss_change": -0.05, "loss_noise": 0.08}, "unknown", "noise"),
        ("loss, last quarter", {"loss_change": 0.05, "loss_noise": 0.08}, "unknown", "noise"),
        ("loss, last quarter", {"loss_change": 0.05, "loss_noise": 0.01}, "warning", "rising"),
        ("loss, last quarter", {"loss_change": 0.5, "loss_noise": 0.01}, "bad", "rising"),
        ("stability", {"stability": 0.7}, "warning", "explode or vanish"),
        ("stability", {"stability": 0.4}, "bad", "explode or vanish"),
        ("gradient norm spread", {"norm_spread": 1.5}, "warning", "larger batch"),
        ("grad_clip_ratio", {"grad_clip_ratio": 0.1}, "warning", "fall"),
        ("grad_clip_ratio", {"grad_clip_ratio": 0.15, "progress": 0.01}, "ok", ""),
        ("grad_clip_ratio", {"grad_clip_ratio": 0.6}, "bad", "learning rate or loss scale too high"),
        ("norm trend", {"norm_doubling": 2.1}, "warning", "lower the learning rate"),
        ("skipped steps", {"skipped_share": 0.05}, "warning", "not finite"),
        ("skipped steps", {"skipped_share": 0.5}, "bad", "not finite"),
        ("update_ratio", {"update_ratio": 0.02}, "warning", "lower the learning rate"),
        ("update_ratio", {"update_ratio": 1e-6}, "warning", "raise the learning rate"),
        ("loss share l1", {"loss_shares": {"l1": 0.05, "gan": 0.95}}, "warning", "dominated"),
        ("loss share gan", {"loss_shares": {"l1": 0.9999, "gan": 0.0001}}, "warning", "inactive"),
        ("residual_ratio", {"residual_ratio": 0.2}, "warning", "little"),
        ("residual_ratio", {"residual_ratio": 0.05}, "bad", "collapsed to interpolation"),
        ("residual_ratio", {"residual_ratio": 1.6}, "bad", "hallucinating"),
        ("edge_ratio", {"edge_ratio": 0.7}, "warning", "blur"),
        ("edge_ratio", {"edge_ratio": 1.1}, "warning", "ringing"),
        ("edge_ratio", {"edge_ratio": 1.1, "adversarial": True}, "ok", ""),
        ("colour_shift", {"colour_shift": 0.01}, "warning", "all channels"),
        ("colour_shift", {"colour_shift": 0.1}, "bad", "all channels"),
        ("colour_shift", {"colour_shift": 0.1, "warm": False}, "warning", "early"),
        ("val/psnr vs bicubic", {"score": 27.0}, "bad", "misaligned data"),
        ("val/psnr vs bicubic", {"score": 27.0, "warm": False}, "warning", "early"),
        ("data_wait_share", {"data_wait_share": 0.3}, "warning", "loader bound"),
    ],
)
def test_every_rule_of_the_table(quantity, changes, verdict, words):
    found = row(quantity, **changes)
    assert found.verdict == verdict and words in found.advice


def test_a_metric_of_which_less_is_better_is_above_bicubic_when_lower():
    found = row("val/lpips vs bicubic", metric="val/lpips", score=0.1, bicubic=0.3, higher_is_better=False)
    assert found.verdict == "ok" and found.value == pytest.approx(0.2)


def test_what_was_not_measured_is_unknown_and_gets_no_advice():
    rows = diagnose(RunNumbers(progress=0.5))
    assert len(rows) == 13 and all(r.verdict == "unknown" and r.advice == "" for r in rows)
