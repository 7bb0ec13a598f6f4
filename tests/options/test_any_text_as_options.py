"""Whatever is typed, reading options ends in options or in a ConfigError."""

from full_example import FULL
from hypothesis import given, settings
from hypothesis import strategies as st

from traiNNer.options import dump_resolved, load_options
from traiNNer.options.scalars import write_scalar
from traiNNer.registry import ConfigError

SPOTS = st.integers(0, len(FULL))
TYPED = st.sampled_from(
    [
        "",
        " ",
        "  ",
        "\n",
        "\t",
        ":",
        ": ",
        "-",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "#",
        "&a ",
        "*a",
        "!",
        "x",
    ]
    + ["null", "true", ".inf", ".nan", "-1", "0", "1e400", "auto", "{}", "[]", "train: ", "losses: "]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(SPOTS, st.integers(0, 12), TYPED), min_size=1, max_size=4))
def test_no_typing_error_raises_anything_but_a_config_error(tmp_path_factory, edits):
    text = FULL
    for spot, removed, typed in edits:
        text = text[:spot] + typed + text[spot + removed :]
    path = tmp_path_factory.getbasetemp() / "typed.yml"
    path.write_text(text)
    _load_or_explain(path, ())


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 10**6), st.floats(allow_nan=False))
VALUES = st.recursive(
    st.one_of(SCALARS, st.sampled_from(["auto", "x", "", "true"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["type", "enabled", "lr"]), inner, max_size=2),
    ),
    max_leaves=4,
)
PLACES = """
name scale num_gpu datasets datasets.train datasets.train.lq_size datasets.train.gt_size
datasets.val.scale network_g network_g.scale train train.total_iter train.optim_g train.optim_g.lr
train.losses train.losses.0 train.losses.0.type losses pixel_opt train.pixel_opt
train.training_automations train.early_stopping train.training_automations.enabled
train.training_automations.AdaptiveGradientClipping train.training_automations.early_stopping
train.training_automations.early_stopping.max_no_improvement
train.training_automations.IntelligentEarlyStopping.patience train.dynamic_loss_scheduling
train.training_automations.DynamicLossScheduling train.scheduler train.scheduler.milestones train.eco
auto_vram_management val val.metrics val.metrics.psnr val.tile_size val.tile_overlap path logger
logger.wandb path.strict_load high_order_degradation train.use_moa blur_prob
""".split()  # noqa: SIM905 - a list of so many would fill the page


def _flow(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(_flow, value)) + "]" if isinstance(value, list) else write_scalar(value)


def _load_or_explain(path, overrides):
    """Options that survive a round trip, or a ConfigError of lines with a place."""
    seen = []

    def check(raw):
        seen.append(raw)
        train = raw.get("train", {})
        assert all(isinstance(raw.get(key, {}), dict) for key in ("network_g", "train", "val", "datasets"))
        assert all(isinstance(spec, dict) for spec in train.get("losses", []))
        assert all(isinstance(spec, dict) for spec in train.get("training_automations", {}).values())
        return []

    try:
        options = load_options(path, overrides, check=check)
    except ConfigError as error:
        assert error.problems and all(line.startswith((str(path), "command line")) for line in error.problems)
        return
    resolved = path.with_name("resolved.yml")
    resolved.write_text(dump_resolved(options))
    assert load_options(resolved) == options


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_no_value_in_any_place_raises_anything_but_a_config_error(tmp_path_factory, settings_given):
    path = tmp_path_factory.getbasetemp() / "values.yml"
    path.write_text(FULL)
    _load_or_explain(path, [f"{place}={_flow(value)}" for place, value in settings_given])
