"""Files that must load, overrides, values that follow from others, and the file of resolved options."""

import logging
import subprocess
import sys
import time

import pytest
import yaml
from full_example import FULL

from traiNNer.options import Options, dump_resolved, load_options


def _merged(base, extra):
    for key, value in extra.items():
        base[key] = (
            _merged(base[key], value)
            if isinstance(value, dict) and isinstance(base.get(key), dict)
            else value
        )
    return base


def _load_with_fragment(contract_root, tmp_path, fragment, without=()):
    tree = yaml.safe_load((contract_root / "guide_full.yml").read_text())
    for name in without:
        del tree["train"]["training_automations"][name]
    if fragment:
        text = (contract_root / fragment).read_text()
        extra = yaml.safe_load(text)
        _merged(tree["train"] if "`train:`" in text.splitlines()[0] else tree, extra)
    path = tmp_path / "merged.yml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return load_options(path)


def _warned(options):
    return [note.text.split(": ", 1)[1] for note in options.notes if note.level >= logging.WARNING]


GUIDE = "train.training_automations.IntelligentEarlyStopping.improvement_threshold: 0.002 differs from "
GUIDE += "min_improvement: 0.001; the stricter of the two, 0.002, is used"
MISPLACED = "train.training_automations.IntelligentLearningRateScheduler.target_vram_usage: ignored here; "
MISPLACED += "it belongs under train.training_automations.DynamicBatchSizeOptimizer"
WARNINGS = {
    "": [GUIDE],
    "guide_debug.fragment.yml": [GUIDE],
    "guide_rtx3060.fragment.yml": [MISPLACED, GUIDE],
    "analysis_old.fragment.yml": [GUIDE],
    "analysis_recommended.fragment.yml": [GUIDE],
}


@pytest.mark.parametrize("fragment", WARNINGS)
def test_configurations_of_users_load_with_the_warnings_they_deserve(contract_root, tmp_path, fragment):
    assert _warned(_load_with_fragment(contract_root, tmp_path, fragment)) == WARNINGS[fragment]


@pytest.mark.parametrize("fragment", ["clipping_explicit.fragment.yml", "clipping_autonomous.fragment.yml"])
def test_clipping_beside_the_automations_is_the_clipping_automation(contract_root, tmp_path, fragment):
    clipping = "AdaptiveGradientClipping"
    options = _load_with_fragment(contract_root, tmp_path, fragment, without=[clipping])
    written = yaml.safe_load((contract_root / fragment).read_text())["adaptive_gradient_clipping"]
    assert options.train and options.train.training_automations[clipping] == written
    assert _warned(options) == [GUIDE]


def test_every_fragment_is_tested(contract_root):
    clipping = {"clipping_explicit.fragment.yml", "clipping_autonomous.fragment.yml"}
    assert {path.name for path in contract_root.glob("*.fragment.yml")} == (WARNINGS.keys() - {""}) | clipping


def test_the_guide_means_what_it_says(contract_root):
    options = load_options(contract_root / "guide_full.yml")
    assert options.scale == 2 and options.datasets["train"].dataroot_gt == ["/path/to/hr/images"]
    assert options.train and [loss["type"] for loss in options.train.losses] == ["L1Loss", "PerceptualLoss"]
    assert options.train.training_automations["IntelligentEarlyStopping"]["patience"] == 2000
    assert options.val.metrics["psnr"] == {"better": "higher", "type": "psnr"}
    assert options.path.models == "experiments/2xParagonSR2_Nano_TrainingAutomations/models"


def test_loading_takes_less_than_50_ms_of_computing(contract_root):
    seconds = []
    for _ in range(5):
        start = time.process_time()
        load_options(contract_root / "guide_full.yml")
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05


def test_importing_the_options_imports_no_torch():
    code = "import sys, traiNNer.options; sys.exit(bool({'torch', 'numpy', 'cv2'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_defaults_are_what_users_know(write):
    options = load_options(
        write("name: n\nscale: 4\ntrain: {total_iter: 5}\ndatasets: {train: {}, val: {}}\n")
    )
    assert (options.num_gpu, options.manual_seed, options.use_channels_last) == ("auto", "auto", True)
    assert options.logger.print_freq == 100 and options.logger.save_checkpoint_freq == "auto"
    assert options.logger.use_tb_logger and options.logger.keep_training_states == 3
    assert options.val.val_enabled and not options.val.save_img and options.val.val_freq == "auto"
    assert options.train and options.train.ema_power == 0.75 and options.train.grad_clip_max_norm is None


SIZES = {
    "gt_size: 96": (48, 96),
    "lq_size: 48": (48, 96),
    "lq_size: 48, gt_size: 96": (48, 96),
    "": (64, 128),
    "lq_size: auto, gt_size: 64": (32, 64),
}


@pytest.mark.parametrize("written", SIZES)
def test_patch_sizes_follow_from_each_other(write, written):
    options = load_options(
        write(f"name: n\nscale: 2\ntrain: {{total_iter: 1}}\ndatasets: {{train: {{{written}}}}}")
    )
    assert (options.datasets["train"].lq_size, options.datasets["train"].gt_size) == SIZES[written]


def test_the_resolved_file_loads_to_an_equal_tree_and_names_every_origin(write):
    options = load_options(write(FULL), ["val.save_img=true"])
    options = options.with_derived({"num_gpu": 0, "datasets.train.batch_size_per_gpu": 12})
    text = dump_resolved(options)
    again = load_options(write(text))
    assert again == options and again.notes == ()
    assert dump_resolved(again).replace(" ", "") != text  # the origins differ, the values do not
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "num_gpu: 0  # derived",
        "batch_size_per_gpu: 12  # derived",
        "gt_size: 96  # file line 5",
        "lq_size: 48  # derived",
        "save_img: true  # command line",
        "total_iter: 1000  # file line 9",
        "use_amp: false  # default",
        "- type: L1Loss  # file line 14",
        'text: "1e-4"  # file line 7',
    ):
        assert line in lines
    leaves = [line for line in lines[1:] if not line.endswith(":")]
    assert all("  # " in line for line in leaves) and len(leaves) > 70


@pytest.mark.parametrize("automations", ["{enabled: false, early_stopping: true}", "{}", "true"])
def test_resolved_automations_stay_on_or_off(write, automations):
    train = f"train: {{total_iter: 1, training_automations: {automations}, dynamic_loss_scheduling: false}}"
    options = load_options(write(f"name: n\nscale: 2\n{train}"))
    assert load_options(write(dump_resolved(options))) == options


def test_the_resolved_guide_loads_to_an_equal_tree(contract_root, write):
    options = load_options(contract_root / "guide_full.yml")
    assert load_options(write(dump_resolved(options))) == options


def test_a_derived_value_leaves_the_rest_alone(write):
    options = load_options(write(FULL))
    derived = options.with_derived({"val.val_freq": 7})
    assert derived.val.val_freq == 7 and options.val.val_freq == 100
    assert derived != options and derived.with_derived({"val.val_freq": 100}) == options
    assert derived.origin(("train", "total_iter")) == "file line 9" and derived.notes == options.notes


def test_every_option_is_described_for_the_schema():
    schema = Options.model_json_schema()
    sections = [schema, *(d for name, d in schema["$defs"].items() if name.endswith("Options"))]
    assert len(sections) == 8
    assert [name for d in sections for name, p in d["properties"].items() if not p.get("description")] == []


def test_overrides_win_and_are_read_as_yaml(write):
    overrides = ["train.total_iter=2e3", "val.suffix=on", "train.losses.1.loss_weight=0.5", "scale=2"]
    overrides += [
        "datasets.val_2={dataroot_gt: x}",
        "train.optim_g.betas=[0.9, 0.99]",
        "val.metrics.psnr=null",
    ]
    options = load_options(write(FULL), overrides)
    assert options.train and options.train.total_iter == 2000 and options.val.suffix == "on"
    assert options.train.losses[1] == {"type": "SSIMLoss", "loss_weight": 0.5}
    assert options.train.optim_g == {"type": "AdamW", "lr": 1e-4, "betas": [0.9, 0.99]}
    assert options.datasets["val_2"].dataroot_gt == ["x"] and options.datasets["val_2"].name == "val_2"
    assert options.val.metrics["psnr"] == {"type": "psnr"}
    assert options.origin(("datasets", "val_2", "dataroot_gt")) == "command line"
    assert options.origin(("datasets", "val_2", "use_rot")) == "default"


OLD = """\
losses: [{type: L1Loss}]
train:
  total_iter: 10
  pixel_opt: {type: MSELoss, loss_weight: 1}
  early_stopping: {enabled: true, max_no_improvement: 5, min_improvement: 0.1}
path: {strict_load: true}
"""
NEW = {
    "train.pixel_opt.loss_weight=2": ("train.losses.1", {"type": "MSELoss", "loss_weight": 2}),
    "train.losses.1.loss_weight=2": ("train.losses.1", {"type": "MSELoss", "loss_weight": 2}),
    "losses.0.loss_weight=2": ("train.losses.0", {"type": "L1Loss", "loss_weight": 2}),
    "train.mssim_opt={type: MSSIMLoss}": ("train.losses.2", {"type": "MSSIMLoss"}),
    "train.mssim_opt.type=MSSIMLoss": ("train.losses.2", {"type": "MSSIMLoss"}),
    "train.early_stopping.patience=9": ("stopping.patience", 9),
    "train.early_stopping.max_no_improvement=9": ("stopping.patience", 9),
    "train.intelligent_early_stopping.patience=9": ("stopping.patience", 9),
    "train.training_automations.IntelligentEarlyStopping.max_no_improvement=9": ("stopping.patience", 9),
    "train.training_automations.early_stopping.patience=9": ("stopping.patience", 9),
    "train.early_stopping.min_improvement=auto": ("stopping", {"enabled": True, "patience": 5}),
    "train.early_stopping.improvement_threshold=null": ("stopping", {"enabled": True, "patience": 5}),
    "train.early_stopping=false": ("stopping", {"enabled": False}),
    "train.early_stopping=null": ("stopping", {"enabled": False}),
    "path.strict_load=false": ("path.strict_load_g", False),
    "path.strict_load_g=false": ("path.strict_load_g", False),
}


@pytest.mark.parametrize("override", NEW)
def test_an_override_wins_under_every_name_of_an_option_whatever_the_file_calls_it(write, override):
    tree = load_options(write("name: n\nscale: 2\n" + OLD), [override]).model_dump()
    place, value = NEW[override]
    tree["stopping"] = tree["train"]["training_automations"]["IntelligentEarlyStopping"]
    for key in place.split("."):
        tree = tree[int(key) if key.isdecimal() else key]
    assert tree == value


@pytest.mark.parametrize(
    "block", ["true", "{enabled: true}", "{enabled: true, AdaptiveGradientClipping: true}"]
)
def test_an_override_finds_an_option_of_an_automation_that_the_file_only_switches_on(write, block):
    text = f"name: n\nscale: 2\ntrain: {{total_iter: 1, training_automations: {block}}}\n"
    place = "train.training_automations.AdaptiveGradientClipping"
    train = load_options(write(text), [f"{place}.max_threshold=0.1", f"{place}.monitor_only=true"]).train
    clipping = {"enabled": True, "max_threshold": 0.1, "monitor_only": True}
    assert train and train.training_automations["AdaptiveGradientClipping"] == clipping
