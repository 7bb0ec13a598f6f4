import math

import pytest
from automations.simulate import controls, drive, facts, flat, window

from traiNNer.automations import Limits, Supervisor
from traiNNer.automations.batch.batch_size import BatchFallback, DynamicBatchSizeOptimizer
from traiNNer.automations.batch.memory_plan import divisors, grown, largest_fitting
from traiNNer.events import OutOfMemoryEvent


def optimizer(**options):
    return DynamicBatchSizeOptimizer(facts=options.pop("facts", facts()), **options)


def run(peak, *, automation=None, in_force=None, windows=60, speed=lambda c: 8.0):
    """Windows whose memory peak and samples per second are functions of the controls; the decisions."""
    automation, in_force = automation or optimizer(), in_force or controls()
    found = []
    for k in range(1, windows + 1):
        c = in_force
        event = window(10 * k, batch=c.batch, micro_batch=c.micro_batch, lq_size=c.lq_size)
        event = type(event)(**{**vars(event), "memory_peak": peak(c), "seconds": 10 * c.batch / speed(c)})
        found += [(10 * k, d) for d in flat(drive(automation, [event], in_force))]
    return found


def linear(per_sample, base=0.1):
    return lambda c: base + per_sample * c.micro_batch * (c.lq_size / 48) ** 2


def test_above_the_target_the_next_smaller_divisor_is_taken_at_a_review():
    in_force = controls(batch=12, micro_batch=12)
    found = run(linear(0.09), automation=optimizer(facts=facts(batch=12)), in_force=in_force)
    assert [(s, d.micro_batch) for s, d in found] == [(100, 6)]
    assert found[0][1].batch == 12 and in_force.lr_batch_factor == 1.0
    assert found[0][1].reason.startswith("high VRAM usage (118.0%")


@pytest.mark.parametrize(("resumed_on", "size"), [("8 GB, fp32", 4), ("24 GB, fp32", 8), ("8 GB, bf16", 8)])
def test_a_size_that_failed_is_tried_again_only_on_another_card_or_in_another_precision(resumed_on, size):
    before, in_force = optimizer(facts=facts(measured_on="8 GB, fp32")), controls(batch=8, micro_batch=8)
    drive(before, [window(10), OutOfMemoryEvent(10, 8, 4)], in_force)
    assert in_force.micro_batch == 4
    after = optimizer(facts=facts(measured_on=resumed_on))
    after.load_state_dict(before.state_dict())
    run(linear(0.05), automation=after, in_force=in_force)
    assert in_force.micro_batch == size


def test_near_the_target_nothing_happens():
    for peak in (0.81, 0.83, 0.85):
        assert run(lambda c, p=peak: p) == []


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.3])
def test_the_margin_is_a_buffer_below_the_target(margin):
    """What a larger one brings is room: the batch shrinks at the same peak and grows later."""
    shrunk = run(lambda c: 0.86, automation=optimizer(safety_margin=margin))
    assert shrunk and shrunk[0][1].micro_batch < 8
    options = {"safety_margin": margin, "max_batch_size": 64}
    grown = run(lambda c: 0.6, automation=optimizer(**options), in_force=controls(batch=8, micro_batch=2))
    assert bool(grown) == (margin < 0.2)


def test_at_the_lowest_size_a_review_has_no_more_to_say():
    in_force = controls(batch=8, micro_batch=2)
    assert run(lambda c: 0.99, automation=optimizer(min_batch_size=2), in_force=in_force) == []


def test_sizes_that_are_only_watched_are_said_once():
    supervisor, said = Supervisor({"b": optimizer()}, {"b": Limits(monitor_only=True)}), []
    for k in range(1, 101):
        event = window(10 * k, micro_batch=4, memory_peak=0.3 if k > 50 else 0.95)
        said += supervisor.react(event, controls(micro_batch=4))
    assert [(p.applied, p.decision.micro_batch) for p in said] == [(False, 2), (False, 8)]


def test_sizes_that_were_in_force_may_be_decided_again():
    """As after a resume with the batch of before."""
    automation = optimizer()
    assert len(run(linear(0.15), automation=automation, windows=20)) == 1
    assert len(run(linear(0.15), automation=automation, windows=20)) == 1


def test_a_step_that_did_not_fit_goes_on_with_the_smaller_size_which_is_never_tried_again():
    automation, in_force = optimizer(), controls()
    decision = flat(drive(automation, [OutOfMemoryEvent(5, 8, 4)], in_force))[0]
    assert decision.micro_batch == 4 and decision.batch == 8
    assert not decision.counts and decision.level == "WARNING" and "out of memory" in decision.reason
    assert run(linear(0.01), automation=automation, in_force=in_force) == []
    assert automation.state.failed == {"48": 8}


def test_a_micro_batch_grows_back_when_memory_allows_and_it_never_failed():
    in_force = controls(batch=8, micro_batch=2)
    found = run(linear(0.05), in_force=in_force)
    assert [d.micro_batch for _, d in found] == [4, 8] and in_force.batch == 8
    assert found[0][0] == 200  # after two reviews


def test_the_batch_grows_only_if_the_user_allows_it_and_only_while_it_brings_speed():
    def faster(c):
        return 10.0 * min(c.batch, 18)

    assert run(linear(0.001), speed=faster) == []
    in_force = controls()
    found = run(
        linear(0.001), automation=optimizer(max_batch_size=64), in_force=in_force, speed=faster, windows=300
    )
    assert [d.batch for _, d in found] == [12, 18, 27, 18]
    assert in_force.batch == 18 and "no gain in speed" in found[-1][1].reason
    for (_, a), (_, b) in zip(found, found[1:], strict=False):
        assert b.batch <= 1.5 * a.batch


def test_a_growth_of_less_than_five_percent_returns_and_stays():
    for gain, last in ((1.04, 8), (1.06, 12)):
        in_force = controls()
        automation = optimizer(max_batch_size=12)
        speed = lambda c, g=gain: 8.0 * (g if c.batch > 8 else 1.0)  # noqa: E731
        run(linear(0.001), automation=automation, in_force=in_force, speed=speed, windows=300)
        assert in_force.batch == last


def test_growth_needs_two_reviews_with_room_in_a_row():
    peaks = iter([0.5] * 10 + [0.84] * 10 + [0.5] * 10 + [0.5] * 10)
    found = run(
        lambda c: next(peaks), automation=optimizer(max_batch_size=32, vram_history_size=5), windows=40
    )
    assert [s for s, _ in found] == [400]


@pytest.mark.parametrize(
    "kind, expected", [("AdamW", math.sqrt(1.5)), ("SGD", 1.5), ("Adan", math.sqrt(1.5))]
)
def test_the_learning_rate_goes_with_the_batch(kind, expected):
    in_force = controls()
    automation = optimizer(max_batch_size=12, facts=facts(optimizer=kind))
    run(linear(0.001), automation=automation, in_force=in_force, speed=lambda c: 10.0 * c.batch)
    assert in_force.batch == 12 and in_force.lr_batch_factor == pytest.approx(expected)


def test_a_growth_that_runs_out_of_memory_is_the_last():
    automation, in_force = optimizer(max_batch_size=32), controls()
    run(linear(0.001), automation=automation, in_force=in_force, windows=25, speed=lambda c: 10.0 * c.batch)
    assert in_force.batch == 12
    drive(automation, [OutOfMemoryEvent(251, 12, 6)], in_force)
    run(linear(0.001), automation=automation, in_force=in_force, windows=200, speed=lambda c: 10.0 * c.batch)
    assert (in_force.batch, in_force.micro_batch) == (12, 6)


@pytest.mark.parametrize(("speed", "sizes"), [(50.0, (8, 8)), (90.0, (12, 6))])
def test_a_growth_that_runs_out_of_memory_still_has_to_be_faster(speed, sizes):
    automation, in_force = optimizer(max_batch_size=32), controls()
    measured = lambda c: 80.0 if c.micro_batch >= 8 else speed  # noqa: E731
    run(linear(0.001), automation=automation, in_force=in_force, windows=25, speed=measured)
    drive(automation, [OutOfMemoryEvent(251, 12, 6)], in_force)
    run(linear(0.001), automation=automation, in_force=in_force, windows=200, speed=measured)
    assert (in_force.batch, in_force.micro_batch) == sizes


def test_speeds_of_all_batches_are_kept():
    automation = optimizer(max_batch_size=12)
    run(linear(0.001), automation=automation, speed=lambda c: 10.0 * c.batch)
    assert automation.state.throughput == pytest.approx({"8": 80.0, "12": 120.0})


def test_the_patch_changes_only_where_asked_and_never_beyond_the_configured_one():
    both = ["lq_size", "micro_batch"]
    in_force = controls(batch=1, micro_batch=1)
    assert run(linear(0.85), in_force=in_force, automation=optimizer()) == []
    automation = optimizer(tune=both, facts=facts(batch=1))
    found = run(linear(0.85), automation=automation, in_force=in_force)
    assert [d.lq_size for _, d in found] == [40] and found[0][1].change(controls()).parameter == "lq_size"
    run(linear(0.05), automation=automation, in_force=in_force, windows=100)
    assert in_force.lq_size == 48


def test_a_smaller_patch_on_resuming_wins_over_the_one_of_before():
    both, in_force = ["lq_size", "micro_batch"], controls(batch=1, micro_batch=1, lq_size=64)
    before = optimizer(tune=both, facts=facts(batch=1, lq_size=64, measured_on="64"))
    run(linear(0.05), automation=before, in_force=in_force, windows=1)
    after = optimizer(tune=both, facts=facts(batch=1, lq_size=48, measured_on="48"))
    after.load_state_dict(before.state_dict())
    in_force.lq_size = 40
    run(linear(0.05), automation=after, in_force=in_force, windows=100)
    assert in_force.lq_size == 48


def test_bounds_changed_since_win_over_the_batch_that_was_reached():
    in_force = controls(batch=24, micro_batch=12)
    found = run(linear(0.05), automation=optimizer(max_batch_size=16), in_force=in_force, windows=1)
    assert in_force.batch == 16 and in_force.micro_batch == 8
    assert "bounds" in found[0][1].reason and in_force.lr_batch_factor == pytest.approx(math.sqrt(2))


def test_the_fallback_fits_its_batch_into_the_present_micro_batch():
    automation = optimizer(fallback=BatchFallback(9))
    decision = automation.fallback(controls(batch=16, micro_batch=8))[0]
    assert (decision.batch, decision.micro_batch) == (9, 3) and not decision.counts
    assert optimizer().fallback(controls()) == ()


OPTIONS = [
    {"target_vram_usage": 0.6},
    {"safety_margin": 0.2},
    {"adjustment_frequency": 30},
    {"min_batch_size": 4},
    {"max_batch_size": 10},
    {"vram_history_size": 2},
    {"tune": ["micro_batch"]},
]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda o: next(iter(o)))
def test_every_option_changes_behaviour(option):
    def decisions(**changes):
        peaks = iter([0.97] * 10 + [0.92] * 20 + [0.78] * 3 + [0.7] * 90 + [0.3] * 200)
        automation = optimizer(**{"max_batch_size": 32, **changes})
        found = run(lambda c: next(peaks), automation=automation, windows=300, speed=lambda c: 10.0 * c.batch)
        return [(s, d.batch, d.micro_batch) for s, d in found]

    assert decisions() != decisions(**option)


def test_contradictory_bounds_are_refused():
    with pytest.raises(ValueError, match="max_batch_size"):
        optimizer(min_batch_size=8, max_batch_size=4)


def test_two_probes_give_the_largest_batch_that_fits():
    assert largest_fitting((1, 0.10), (2, 0.15), 0.80, 64) == 15
    assert largest_fitting((2, 0.15), (1, 0.10), 0.80, 8) == 8
    assert largest_fitting((1, 0.9), (2, 0.95), 0.80, 64) == 1
    with pytest.raises(ValueError, match="two different"):
        largest_fitting((2, 0.1), (2, 0.2), 0.8, 8)


def test_growth_takes_equal_whole_pieces_below_what_failed():
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    for batch in range(1, 40):
        for micro in divisors(batch):
            sizes = grown(batch, micro, peak=0.4, limit=0.8, most=64, failed=micro + 1)
            if sizes is not None:
                assert batch < sizes[0] <= 1.5 * batch and sizes[0] % sizes[1] == 0 and sizes[1] <= micro
    assert grown(8, 8, peak=0.4, limit=0.8, most=8, failed=99) is None


def test_the_patch_shrinks_no_further_than_the_networks_take():
    in_force, told = controls(micro_batch=1), facts(smallest_patch=40)
    found = run(lambda c: 0.99, automation=optimizer(facts=told, tune=["lq_size"]), in_force=in_force)
    assert [d.lq_size for _, d in found] == [40]
