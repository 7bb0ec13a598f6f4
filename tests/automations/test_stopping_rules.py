"""Early stopping looks at every metric of the set: a run ends where none of them has anything left to gain."""

import math
import random
import time

import pytest
from automations.simulate import controls, drive, facts, flat, window

from traiNNer.automations.stopping.early_stopping import IntelligentEarlyStopping
from traiNNer.automations.stopping.early_stopping_state import stop_nearness
from traiNNer.automations.stopping.stopping_rules import nothing_to_gain, settled, thinned
from traiNNer.events import SetScores, ValidationEvent

BOTH = {"psnr": True, "lpips": False}


def event(step, scores, *, exhausted=False):
    """A validation of five images that differ by fixed amounts; `scores` are means by metric."""
    apart = {"psnr": 1.0, "lpips": 0.01}
    metrics = {m: [mean + apart[m] * (k - 2) for k in range(5)] for m, mean in scores.items()}
    baseline = {m: [20.0 if m == "psnr" else 1.0] * 5 for m in scores}
    sets = {"val": SetScores([f"{k}.png" for k in range(5)], [(64, 64)] * 5, metrics, baseline)}
    return ValidationEvent(step, step * 8, sets, weights_finite=True, lr_exhausted=exhausted)


def run(psnr, lpips, *, ends_at=math.inf, loss=lambda step: 0.05, seed=0, **options):
    """Validations until the first stop: number of the last one and the rule, or None; and how near stops were."""
    given = {
        "min_iterations": 1000,
        "warmup_iterations": 500,
        "patience": 4000,
        "min_lr_factor": 0.1,
        **options,
    }
    automation = IntelligentEarlyStopping(facts=facts(higher_is_better=BOTH), **given)
    in_force, rng, near = controls(), random.Random(seed), []
    for k, scores in enumerate(zip(psnr, lpips, strict=True)):
        step = 1000 * (k + 1)
        drive(automation, [window(step, losses=[loss(step) * math.exp(rng.gauss(0, 0.05))] * 10)], in_force)
        seen = event(step, dict(zip(BOTH, scores, strict=True)), exhausted=k >= ends_at)
        found = flat(drive(automation, [seen], in_force))
        near.append(automation.state.nearness)
        if found:
            return (k, found[0].rule), near
    return None, near


FLAT = [28.0, 29.0, 30.0] + [30.0] * 22
EVEN = [0.3, 0.25, 0.2] + [0.2] * 22
BETTER = [0.3 - 0.005 * k for k in range(25)]


def test_a_metric_that_still_gains_keeps_the_run_from_stopping():
    assert run(FLAT, EVEN, ends_at=0)[0] is not None
    assert run(FLAT, BETTER, ends_at=0)[0] is None
    assert run([28 + 0.05 * k for k in range(25)], EVEN, ends_at=0)[0] is None


def test_what_overfits_in_one_metric_goes_on_while_another_gains():
    falls = [28.0, 29.0, 30.0] + [30.0 - 0.05 * k for k in range(22)]
    worse = [0.3, 0.25, 0.2] + [0.2 + 0.002 * k for k in range(22)]
    loss = {"loss": lambda step: 0.05 * 0.95 ** (step / 1000)}
    assert run(falls, worse, **loss)[0][1] == "overfitting"
    assert run(falls, BETTER, **loss)[0] is None


def test_a_new_best_of_another_metric_however_small_puts_a_stop_off():
    small = [0.3, 0.25, 0.2] + [0.2 - 1e-9 * k for k in range(1, 18)] + [0.2] * 5
    assert run(FLAT, EVEN, min_lr_factor=1.0)[0][0] < 20
    assert run(FLAT, small, min_lr_factor=1.0)[0][0] == 20


@pytest.mark.parametrize("kind", ["saturates", "overfits", "wanders"])
def test_no_run_is_stopped_at_a_new_best_of_any_metric(kind):
    stops = 0
    for seed in range(12):
        rng = random.Random(seed)
        noise = [rng.gauss(0, 0.02) for _ in range(50)]
        drift = {"saturates": 0.0, "overfits": -0.03, "wanders": 0.003}[kind]
        psnr = [30 - 3 * math.exp(-0.5 * k) + drift * max(0, k - 8) + noise[k] for k in range(50)]
        lpips = [0.2 + 0.1 * math.exp(-0.5 * k) - rng.gauss(0, 0.001) for k in range(50)]
        found, _ = run(
            psnr, lpips, min_lr_factor=1.0, loss=lambda step: 0.05 * 0.97 ** (step / 1000), seed=seed
        )
        if found:
            k = found[0]
            assert psnr[k] <= max(psnr[:k]) and lpips[k] >= min(lpips[:k])
            stops += 1
    assert stops > 3 or kind == "wanders"


def test_the_unit_of_another_metric_changes_nothing():
    rng = random.Random(3)
    psnr = [30 - 3 * math.exp(-0.5 * k) + rng.gauss(0, 0.003) for k in range(50)]
    lpips = [0.2 + 0.1 * math.exp(-0.4 * k) + rng.gauss(0, 0.0001) for k in range(50)]
    one, near = run(psnr, lpips, min_lr_factor=1.0)
    other, as_near = run(psnr, [1000 * value for value in lpips], min_lr_factor=1.0)
    assert one is not None and (one, near) == (other, as_near)


@pytest.mark.parametrize("ratio", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("margin", [0.01, 0.1])
def test_gains_have_settled_once_all_to_come_lie_below_the_margin(ratio, margin):
    scores = [-(ratio**k) for k in range(200)]  # after validation k, ratio**k is still to come
    at = [k for k in range(6, 200) if settled([(0.0, s) for s in scores[: k + 1]], margin)]
    first = at[0]
    assert ratio**first < margin  # never early
    assert first <= 10 + 3 * math.log(margin) / math.log(ratio)  # and not much later


def test_gains_that_do_not_shrink_never_settle():
    assert not any(settled([(0.0, 1e-6 * j) for j in range(k)], 1.0) for k in range(6, 60))


def test_creeping_after_the_end_of_the_schedule_does_not_keep_a_run():
    creeping = [28.0, 29.0, 30.0] + [30.0 + 2e-4 * k for k in range(22)]
    found, _ = run(creeping, EVEN, ends_at=3)
    assert found is not None and found[0] < 15
    assert run([28.0, 29.0, 30.0] + [30.0 + 0.05 * k for k in range(22)], EVEN, ends_at=3)[0] is None


def test_how_near_a_stop_is_rises_from_0_to_1():
    found, near = run(FLAT, EVEN, ends_at=0)
    assert found is not None and near[0] < 0.5 and near[-1] == 1.0
    assert all(0.0 <= value <= 1.0 for value in near)
    assert max(run(FLAT, BETTER, ends_at=0)[1]) < 1.0


def test_without_early_stopping_nothing_is_near():
    class Nothing:
        automations = {}

    assert stop_nearness(Nothing()) is None


def test_a_metric_that_once_has_no_value_puts_no_stop_off():
    """What was known of it still holds where it has one again."""
    gap = [math.nan if k == 4 else score for k, score in enumerate(EVEN)]
    assert run(FLAT, gap, min_lr_factor=1.0)[0] == run(FLAT, EVEN, min_lr_factor=1.0)[0] is not None


def test_a_metric_that_is_measured_no_more_keeps_no_run_going():
    """One that is taken out of the options on resuming, or has no value from then on."""
    stops = []
    for last in (3, 25):
        for gone in ({}, {"lpips": math.nan}):
            automation = IntelligentEarlyStopping(
                facts=facts(higher_is_better=BOTH),
                min_iterations=1000,
                warmup_iterations=500,
                min_lr_factor=1.0,
            )
            in_force = controls()
            for k in range(25):
                step = 1000 * (k + 1)
                drive(automation, [window(step)], in_force)
                seen = event(
                    step, {"psnr": FLAT[k], "lpips": EVEN[k]} if k < last else {"psnr": FLAT[k]} | gone
                )
                if flat(drive(automation, [seen], in_force)):
                    stops.append(k)
                    break
    assert len(stops) == 4 and max(stops) < 12


def test_another_monitored_metric_begins_a_record_of_its_own():
    """Resumed with another one: 0.3 of LPIPS is no fall from 30 dB, and no score that was never reached again."""
    given = {"min_iterations": 1000, "warmup_iterations": 500, "patience": 4000, "min_lr_factor": 1.0}
    automation, in_force = IntelligentEarlyStopping(facts=facts(higher_is_better=BOTH), **given), controls()
    for k in range(4):
        drive(automation, [window(1000 * (k + 1)), event(1000 * (k + 1), {"psnr": 28.0 + k, "lpips": 0.3})])
    resumed = IntelligentEarlyStopping(
        facts=facts(higher_is_better=BOTH), monitor_metric="val/lpips", **given
    )
    resumed.load_state_dict(automation.state_dict())
    for k in range(4, 20):
        step, falls = 1000 * (k + 1), 0.05 * 0.95**k
        seen = event(step, {"psnr": 31.0, "lpips": 0.3 - 0.005 * k})
        assert not flat(drive(resumed, [window(step, losses=[falls] * 10), seen], in_force))
    assert resumed.state.record.highest == pytest.approx(-(0.3 - 0.005 * 19))


def test_a_projection_costs_no_more_than_its_curve():
    """A million steps that are validated every hundred; thinning says the same of what is to come."""
    rng = random.Random(0)
    long = [(math.log(8 * step), 30 - 3 / step**0.3 + rng.gauss(0, 0.02)) for step in range(100, 10**6, 100)]
    assert len(thinned(long)) <= 200 and thinned(long[:150]) == long[:150]
    began = time.process_time()
    for margin, nothing in ((0.001, False), (0.3, True)):
        assert nothing_to_gain(long, long[-1][1], 16e6, margin, ended=False) == nothing
    assert time.process_time() - began < 1
