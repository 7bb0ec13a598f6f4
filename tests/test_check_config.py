"""`scripts/check_config.py` as its users run it."""

import importlib.util
import random
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts/check_config.py"


@pytest.fixture
def run(capsys):
    """The exit status and what was printed, for the arguments of a command line."""
    spec = importlib.util.spec_from_file_location("check_config", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*arguments):
        status = module.main([*map(str, arguments)])
        return status, capsys.readouterr().out

    return call


def test_a_good_recipe_is_good_and_its_advice_is_strict_only(tmp_path, run):
    recipe = ROOT / "options/2x_ParagonSR2_Nano.yml"
    new = tmp_path / "new.yml"
    status, said = run(recipe, "--write", new, "--no-data")
    assert status == 0
    assert "wrong: nothing" in said
    assert "train.training_automations.AdaptiveGradientClipping: enabled" in said
    assert run(new, "--strict", "--no-data")[0] == 0
    assert run(recipe, "--strict", "--no-data", "train.ema_decay=0.9999")[0] == 1


def test_mistakes_are_named_by_line_and_exit_2(tmp_path, run):
    text = (ROOT / "options/2x_ParagonSR2_Nano.yml").read_text()
    bad = tmp_path / "bad.yml"
    bad.write_text(text.replace("total_iter:", "total_itr:"))
    line = next(n for n, row in enumerate(bad.read_text().splitlines(), 1) if "total_itr" in row)
    status, said = run(bad, "--no-data")
    assert status == 2
    assert f"bad.yml:{line}:3: train.total_itr: unknown key; did you mean 'total_iter'?" in said
    bad.write_text("a: [")
    assert run(bad)[0] == 2


def test_what_the_older_form_lacks_is_printed(contract_root, tmp_path, run):
    text = (contract_root / "guide_full.yml").read_text()
    start, end = text.index("  # Training Automations"), text.index("# Loss Configuration")
    old = (contract_root / "analysis_old.fragment.yml").read_text()
    path = tmp_path / "old.yml"
    path.write_text(text[:start] + textwrap.indent(old, "  ") + text[end:])
    status, said = run(path, "--no-data")
    assert status == 0, said
    assert "AdaptiveGradientClipping: not mentioned, so off" in said
    assert "automations that it does not mention" in said


def test_missing_folders_are_mistakes(tmp_path, run, monkeypatch):
    shutil.copy(ROOT / "options/2x_ParagonSR2_Nano.yml", tmp_path / "a.yml")
    monkeypatch.chdir(tmp_path)
    assert run("a.yml")[0] == 0  # the demonstration data will be made
    status, said = run("a.yml", "datasets.val.dataroot_gt=nowhere")
    assert status == 2
    assert "datasets.val: nowhere: is not a folder" in said


BROKEN = {
    "train: 1000": "train: should be a mapping",
    "train: [1]": "train: should be a mapping",
    "datasets: 3": "datasets: should be a mapping",
    "datasets: {train: 3}": "datasets.train: should be a mapping",
    "val: {metrics: 3}": "val.metrics: should be a mapping",
    "train: {total_iter: 5, training_automations: 7}": "should be true, false or a mapping",
    "network_g: {type: nowhere}\ndatasets: {train: {batch_size_per_gpu: 1}}": "no network named 'nowhere'",
    "network_g: {type: compact, num_feet: 3}\ndatasets: {train: {batch_size_per_gpu: 1}}": "num_feet",
    "network_g: {type: compact, num_feat: 8e9}\ndatasets: {train: {batch_size_per_gpu: 1}}": "at most 100,000",
    f"path: {{pretrain_network_g: {'x' * 300}}}": "too long for a path",
    "network_g: {type: compact, num_conv: 8000000}": "network_g.num_conv: should be at most 100,000",
    "network_g: {type: compact, num_feat: -1}\ndatasets: {train: {batch_size_per_gpu: 1}}": "is required",
}


@pytest.mark.parametrize("text", BROKEN)
def test_whatever_is_broken_is_explained_and_nothing_ends_in_a_traceback(text, tmp_path, run):
    path = tmp_path / "a.yml"
    path.write_text(f"name: x\nscale: 2\n{text}\n")
    status, said = run(path, "--no-data")
    assert status == 2
    assert BROKEN[text] in said
    assert said.rstrip().endswith("it cannot be used as it stands")


def test_the_verdict_is_the_last_line_below_the_file_in_todays_form(tmp_path, run):
    old = tmp_path / "old.yml"
    text = (ROOT / "options/2x_ParagonSR2_Nano.yml").read_text()
    old.write_text(f"rank: 0\n{text}")
    status, said = run(old, "--no-data")
    assert status == 0
    assert said.index("the file in today's form") < said.index("good:") < said.index("wrong: nothing")
    assert said.splitlines()[-1] == f"{old}: no mistake, no remarks; it can be used"
    old.write_text(text)
    assert run(old, "--no-data")[1].startswith("the file is in today's form\n")
    old.write_text(text, encoding="utf-16")  # as PowerShell's `>` makes of it
    assert run(old, "--no-data")[1].startswith("the file is in today's form\n")


def test_a_reader_who_has_seen_enough_ends_it_without_a_traceback(tmp_path):
    command = f"{sys.executable} {SCRIPT} {ROOT / 'options/2x_ParagonSR2_Nano.yml'} --no-data | head -1"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_file_that_is_there_is_replaced_on_request_alone(tmp_path, run):
    recipe, new = ROOT / "options/2x_ParagonSR2_Nano.yml", tmp_path / "new.yml"
    new.write_text("mine")
    status, said = run(recipe, "--no-data", "--write", new)
    assert status == 2 and "is there already (--overwrite replaces it)" in said
    assert new.read_text() == "mine"
    assert run(recipe, "--no-data", "--write", new, "--overwrite")[0] == 0
    assert new.read_text() != "mine"


def test_a_place_where_nothing_can_be_written_is_said(tmp_path, run):
    status, said = run(ROOT / "options/2x_ParagonSR2_Nano.yml", "--no-data", "--write", tmp_path / "no/a.yml")
    assert status == 2
    assert "cannot be written (No such file or directory)" in said


VALUES = (
    "null true -1 0 1 2 3.5 1e308 -1e308 1e13 .inf .nan auto x '' '../x' '<b>' \"a\\tb\" '~' [] {} [1] [[]] "
    "{type: x} {type: l1loss} {type: compact} {type: psnr} {enabled: true} "
    "99999 8e9 {a: {b: [1e308]}} 0x" + "f" * 300
)
PLACES = """
name scale num_gpu manual_seed network_g network_g.type network_g.num_feat network_g.num_conv network_d
network_d.type datasets datasets.train datasets.train.lq_size datasets.train.gt_size
datasets.train.batch_size_per_gpu datasets.train.num_worker_per_gpu datasets.train.name datasets.train.type
datasets.train.dataroot_gt datasets.val.name datasets.val.dataroot_lq datasets.val2 path
path.pretrain_network_g path.models path.experiments_root train train.total_iter train.losses train.losses.0
train.losses.0.type train.losses.0.loss_weight train.losses.0.start_iter train.losses.0.target_weight
train.pixel_opt train.optim_g train.optim_g.type train.optim_g.lr train.optim_g.betas train.scheduler
train.scheduler.type train.scheduler.milestones train.ema_decay train.warmup_iter train.use_moa
train.training_automations train.training_automations.enabled train.early_stopping
train.early_stopping.patience train.training_automations.AdaptiveGradientClipping.max_threshold
train.dynamic_loss_scheduling train.training_automations.DynamicBatchSizeOptimizer.max_batch_size val
val.metrics val.metrics.psnr.crop_border val.suffix val.tile_size val.val_freq logger logger.print_freq
logger.keep_models model_type degradation
""".split()  # noqa: SIM905 - a list of so many would fill the page


def _mutate(seed):
    draw = random.Random(seed)
    count = draw.choice((1, 1, 2, 3))
    return [f"{draw.choice(PLACES)}={draw.choice(shlex.split(VALUES, posix=False))}" for _ in range(count)]


def _explained(run, seed, network):
    overrides = _mutate(seed)
    began = time.process_time()
    status, said = run(
        ROOT / "options/2x_ParagonSR2_Nano.yml", "--no-data", f"network_g={network}", *overrides
    )
    assert status in (0, 2), overrides
    assert all(len(line) < 4000 for line in said.splitlines()), overrides
    assert time.process_time() - began < 10, overrides


COMPACT = "{type: compact, num_feat: 8, num_conv: 1}"


@pytest.mark.parametrize("seed", range(25))
def test_no_value_in_any_place_ends_in_a_traceback_or_takes_long(run, seed):
    _explained(run, seed, COMPACT)


@pytest.mark.slow
def test_thousands_of_wrong_configurations_are_explained(run):
    for seed in range(1000, 3000):
        _explained(run, seed, COMPACT)


@pytest.mark.parametrize(("metric", "better"), [("psnr", "lower"), ("ssim", "lower"), ("niqe", "higher")])
def test_a_direction_that_contradicts_the_metric_is_said(run, metric, better):
    recipe = ROOT / "options/2x_ParagonSR2_Nano.yml"
    for said, direction in ((True, better), (False, "lower" if better == "higher" else "higher")):
        metrics = f"val.metrics={{m: {{type: {metric}, better: {direction}}}}}"
        assert ("val.metrics.m.better: has no effect: " in run(recipe, "--no-data", metrics)[1]) == said
