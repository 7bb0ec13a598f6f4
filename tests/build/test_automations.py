"""Putting the automations of a run together."""

import pytest
import small_run
from automations.simulate import controls, drive, facts, flat, validation, window

from traiNNer.automations import Supervisor
from traiNNer.automations.gradients.stabilizer import GradientFlowStabilizer
from traiNNer.build.automations import LEARNING_RATE, STABILIZER, build_supervisor, with_learned_pattern
from traiNNer.build.replay import beginning
from traiNNer.control import from_plain, to_plain
from traiNNer.events import RunFacts
from traiNNer.options import load_options
from traiNNer.registry import ConfigError
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.training.learned_patterns import store_pattern

CLIPPING = {"AdaptiveGradientClipping": True}
MONITORING_A_CONSTANT = {"enabled": True, "monitor_only": True, "fallback": {"scheduler_type": "constant"}}


@pytest.mark.parametrize(
    ("scheduler", "told"),
    [({}, 1), ({"enabled": True, "monitor_only": True}, 1), ({"enabled": True}, 0)],
)
def test_an_emergency_says_where_nobody_would_cut_the_rate(tmp_path, caplog, scheduler, told):
    spec = {"enabled": True, **CLIPPING} | (
        {"IntelligentLearningRateScheduler": scheduler} if scheduler else {}
    )
    tree = small_run.options(tmp_path, training_automations=spec)
    options = load_options(small_run.write_options(tmp_path, tree))
    stabilizer = build_supervisor(options, facts(), settled_from=0).automations[STABILIZER]
    sizes = [0.03] * 15 + [100.0]
    events = [window(10 * (k + 1), norms=[n] * 10, losses=[n] * 10) for k, n in enumerate(sizes)]
    assert len(flat(drive(stabilizer, events, controls()))) == 2
    assert caplog.text.count("asks to change lr_factor") == told
    assert "asks to change clip" not in caplog.text


@pytest.mark.parametrize(
    ("scheduler", "others", "waits"),
    [
        (None, {}, False),
        ({"type": "constant"}, {}, False),
        ({"type": "CosineAnnealingLR"}, {}, True),
        ({"type": "constant"}, {LEARNING_RATE: {"enabled": True, "max_adjustments": 2}}, True),
        ({"type": "constant"}, {LEARNING_RATE: {"enabled": True, "max_adjustments": 1}}, False),
        (None, {LEARNING_RATE: {"enabled": True, "max_adjustments": 1}}, True),
        (None, {LEARNING_RATE: {"enabled": True, "monitor_only": True}}, True),
        (None, {LEARNING_RATE: MONITORING_A_CONSTANT}, False),
    ],
)
def test_patience_waits_for_a_lower_rate_only_where_something_will_lower_it(
    tmp_path, scheduler, others, waits
):
    spec = {"enabled": True, "IntelligentEarlyStopping": {"patience": 100, "min_iterations": 1}, **others}
    tree = small_run.options(tmp_path, training_automations=spec, total_iter=2000, scheduler=scheduler)
    options = load_options(small_run.write_options(tmp_path, tree))
    supervisor = build_supervisor(options, facts(), settled_from=0)
    state = supervisor.state_dict()
    if LEARNING_RATE in state:  # after one adjustment, which may have been the last
        state[LEARNING_RATE]["standing"]["adjustments"] = 1
    supervisor.load_state_dict(state)
    built = supervisor.automations["IntelligentEarlyStopping"]
    events = [validation(1000 + 100 * k, [30.0 + 1e-5 * (k % 2), 31.0]) for k in range(40)]
    stops = flat(drive(built, [window(900), *events], controls()))
    assert [stop.rule for stop in stops][:1] == (["diminishing_returns"] if waits else ["patience"])


class Second(DistributedContext):
    """The other of two processes, as far as what is gathered goes."""

    def __init__(self, of_the_first):
        super().__init__(rank=1)
        self.of_the_first = of_the_first

    def gather(self, value):
        return [self.of_the_first, value]


def test_every_process_begins_with_the_pattern_that_the_main_one_has_found(tmp_path, caplog, monkeypatch):
    """Where each looks for itself and finds another file, they clip differently, and their weights part."""
    for home in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(home, str(tmp_path))
    kept = GradientFlowStabilizer(pattern_store="~/store", facts=facts())
    drive(kept, [window(10 * k, norms=[0.03, 0.04] * 5) for k in range(1, 101)], controls())
    spec = {
        "enabled": True,
        **CLIPPING,
        STABILIZER: {"enabled": True, "pattern_store": "~/store"},
    }
    options = load_options(
        small_run.write_options(tmp_path, small_run.options(tmp_path, training_automations=spec))
    )
    first = with_learned_pattern(options, facts(), DistributedContext(), {})
    assert first.learned is None
    store_pattern(Supervisor({kept.name: kept}), facts())
    known = with_learned_pattern(options, facts(), DistributedContext(), {})
    found = known.learned
    begun = build_supervisor(options, from_plain(RunFacts, to_plain(known)), settled_from=0)
    assert begun.automations["AdaptiveGradientClipping"].prior()["g"].threshold == pytest.approx(
        found["networks"]["g"]["threshold"]
    )
    assert with_learned_pattern(options, facts(), Second(None), {}).learned is None
    assert with_learned_pattern(options, facts(), Second(found), {}).learned == found
    for then in (first, known):  # a run that goes on has what it began with
        going_on = with_learned_pattern(options, facts(), Second(None), {"learned": then.learned})
        assert going_on == then
    limit = beginning(options, known)[1].clip["g"]
    assert limit.threshold == pytest.approx(found["networks"]["g"]["threshold"])
    (file,) = (tmp_path / "store").iterdir()
    file.write_text("{half")
    damaged = with_learned_pattern(options, facts(), DistributedContext(), {})
    begun = build_supervisor(options, damaged, settled_from=0)
    assert begun.automations["AdaptiveGradientClipping"].prior()["g"].threshold > 1
    assert "written anew" in caplog.text
    del options.train.training_automations[STABILIZER]["pattern_store"]
    assert beginning(options, known)[1].clip["g"].threshold > 1


def test_a_set_that_the_monitored_metric_cannot_measure_is_refused_before_the_run(tmp_path):
    def build(monitored):
        stopping = {"enabled": True, "monitor_metric": monitored}
        automations = {"enabled": True, "IntelligentEarlyStopping": stopping}
        tree = small_run.options(tmp_path, training_automations=automations)
        tree["datasets"]["val_bare"] = {"name": "bare", "type": "SingleImageDataset", "dataroot_lq": "bare"}
        tree["val"]["metrics"] = {"psnr": {"type": "psnr"}, "niqe": {"type": "niqe"}}
        options = load_options(small_run.write_options(tmp_path, tree))
        known = {"psnr": True, "niqe": False}
        return build_supervisor(options, facts(higher_is_better=known), settled_from=0)

    assert build("bare/niqe").automations
    with pytest.raises(ConfigError, match="bare has no ground truth, with which psnr compares"):
        build("bare/psnr")
