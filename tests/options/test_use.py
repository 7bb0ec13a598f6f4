"""What people's files held when the program was used: names that lead elsewhere, Windows paths, absurd numbers."""

import logging
import time

import pytest
from full_example import FULL

from traiNNer.options import load_options
from traiNNer.options.file_names import run_of
from traiNNer.options.yaml_source import read_yaml
from traiNNer.registry import ConfigError

HEAD = "name: n\nscale: 2\ntrain: {total_iter: 10, losses: [{type: L1Loss}]}\n"


def problems(path, overrides=()):
    with pytest.raises(ConfigError) as error:
        load_options(path, overrides)
    return list(error.value.problems)


def notes(options, level=logging.INFO):
    return [note.text.split(": ", 1)[1] for note in options.notes if note.level == level]


LEADING_ELSEWHERE = [
    "con",
    "../../x",
    "..",
    "a/b",
    "a\\b",
    "C:x",
    "<b>",
    "a\tb",
    "\u202egnp",
    "x" * 151,
    "NUL",
    "aux.b",
    "com\u00b9.x",
    "run.",
    "run ",
    " ",
]
PLACES = ["name", "datasets.val.name", "datasets.train.name", "val.suffix", "train.losses.0.name"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", LEADING_ELSEWHERE)
def test_no_text_that_becomes_a_file_s_name_leads_out_of_its_folder(write, place, value):
    text = HEAD + "datasets: {train: {}, val: {}}\n"
    quoted = '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    (line,) = problems(write(text), [f"{place}={quoted}"])
    assert line.startswith(f"command line: {place}: should be a ")


@pytest.mark.parametrize("label", ["../x", "<img>", "a/b"])
def test_labels_of_metrics_and_keys_of_sets_are_names_too(write, label):
    (line,) = problems(write(HEAD + f"val: {{metrics: {{'{label}': {{type: psnr}}}}}}\n"))
    assert line.startswith(f"bad.yml:4:17: val.metrics.{label}: should be a name for a metric")
    (line,) = problems(write(HEAD + f"datasets: {{'val{label}': {{}}}}\n"))
    assert line.startswith(f"bad.yml:4:12: datasets.val{label}.name: should be a name for a folder")


def test_a_run_cannot_have_the_name_of_the_folder_of_all_records(write):
    assert "the records of all runs" in problems(write(HEAD.replace("name: n", "name: TB_logger")))[0]


def test_names_of_other_languages_are_names(write):
    options = load_options(write(HEAD + "datasets: {val: {name: 'Übung 1 (лето)'}}\nval: {suffix: ×2}\n"))
    assert (options.datasets["val"].name, options.val.suffix) == ("Übung 1 (лето)", "×2")


@pytest.mark.parametrize(
    "written", [r"D:\Users\me", r"D:\data\HR", r"C:\x", r"D:\new\table", r"\\server\share", r"D:\0"]
)
def test_a_path_of_windows_in_double_quotes_is_explained(write, written):
    (line,) = problems(write(HEAD + f'datasets: {{train: {{dataroot_gt: "{written}"}}}}\n'))
    assert line.startswith("bad.yml:4:")
    assert r"in double quotes '\' begins a special character" in line and "use single quotes" in line


@pytest.mark.parametrize("place", ["path.pretrain_network_g", "path.models", "datasets.train.dataroot_gt.0"])
def test_a_path_that_no_file_system_takes_is_said(write, place):
    text = HEAD + "datasets: {train: {dataroot_gt: [a]}}\n"
    for path in ("a/" + "x" * 256, "ab/" * 2000):
        (line,) = problems(write(text), [f"{place}={path}"])
        assert line.startswith(f"command line: {place}: is too long for a path")
    load_options(write(text), [f"{place}=a/{'x' * 255}"])


def test_a_path_of_windows_in_single_quotes_or_without_stays_as_it_is(write):
    text = HEAD + "datasets: {train: {dataroot_gt: ['D:\\new\\HR', D:\\new, D:/new]}}\n"
    assert load_options(write(text)).datasets["train"].dataroot_gt == ["D:\\new\\HR", "D:\\new", "D:/new"]


def test_a_tilde_is_the_home_of_the_user(write, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    text = "datasets: {train: {dataroot_gt: ~/HR, dataroot_lq: [~/LR, a~b], cache_dir: ~}}\n"
    options = load_options(write(HEAD + text + "path: {experiments_root: ~/runs, resume_state: ~/a.state}\n"))
    data = options.datasets["train"]
    assert (data.dataroot_gt, data.dataroot_lq, data.cache_dir) == (
        ["/home/me/HR"],
        ["/home/me/LR", "a~b"],
        None,
    )
    assert (options.path.experiments_root, options.path.resume_state) == ("/home/me/runs", "/home/me/a.state")


HUGE = [10**13, 10**400, 1e308, -(10**400), -1e308]
COUNTS = """
scale num_gpu manual_seed datasets.train.lq_size datasets.train.gt_size datasets.train.batch_size_per_gpu
datasets.train.accum_iter datasets.train.num_worker_per_gpu datasets.train.prefetch_factor train.total_iter
train.warmup_iter train.ema_update_after_step train.net_d_iters val.val_freq val.tile_size val.tile_overlap
logger.print_freq logger.save_checkpoint_freq logger.keep_models logger.keep_training_states
""".split()  # noqa: SIM905 - a list of so many would fill the page


@pytest.mark.parametrize("place", COUNTS)
def test_numbers_that_no_machine_can_count_are_refused_in_a_line_with_a_place(write, place):
    for value in HUGE:
        text = str(value) if isinstance(value, float) or abs(value) < 10**20 else f"{value:#x}"
        (line, *others) = problems(write(FULL), [f"{place}={text}"])
        assert not others, others
        assert line.startswith(f"command line: {place}: should be "), line
        assert len(line) < 400


def test_what_follows_from_a_wrong_value_is_said_with_the_place_of_what_was_written(write):
    path = write(HEAD + "datasets:\n  train: {lq_size: 3}\n  'val/x': {}\n")
    assert problems(path) == [
        "bad.yml:6:3: datasets.val/x.name: should be a name for a folder, "
        "without / \\ : * ? \" < > | (got 'val/x')"
    ]


@pytest.mark.parametrize("entry", ["loss_weight: -1", "loss_weight: -1e-9"])
def test_a_negative_weight_of_a_loss_is_refused(write, entry):
    (line,) = problems(
        write(f"name: n\nscale: 2\ntrain: {{total_iter: 1, losses: [{{type: L1Loss, {entry}}}]}}\n")
    )
    assert "train.losses.0.loss_weight: should be 0 or more: a negative weight trains away" in line


@pytest.mark.parametrize("depth", [5, 10, 30])
def test_merges_of_merges_of_merges_are_refused_at_once(depth):
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    began = time.process_time()
    with pytest.raises(ConfigError, match="far too many values") if depth > 5 else pytest.raises(KeyError):
        read_yaml("\n".join(lines), "f").tree["none"]
    assert time.process_time() - began < 2


def test_a_file_that_is_no_configuration_is_refused_before_it_is_parsed(write):
    began = time.process_time()
    assert "characters; a configuration has" in problems(write("a: 1\n" * 1_000_000))[0]
    assert time.process_time() - began < 1


IDLE = {
    "train.training_automations={AdaptiveGradientClipping: {enabled: false, fallback: {}}}": (
        "train.training_automations.AdaptiveGradientClipping.fallback: has no effect: the automation is off"
    ),
    "datasets.val={lq_size: 32}": "datasets.val.lq_size: has no effect: this set is not trained on",
    "datasets.val={accum_iter: 3}": "datasets.val.accum_iter: has no effect: this set is not trained on",
    "train.dynamic_loss_scheduling=true": (
        "train.dynamic_loss_scheduling: has no effect: there is one loss, which keeps its weight"
    ),
    "train.ema_power=2": "train.ema_power: has no effect without ema_decay",
    "compile_mode=default": "compile_mode: has no effect without use_compile: true",
    "val={suffix: a, save_img: false}": "val.suffix: has no effect without save_img: true",
}


@pytest.mark.parametrize("override", IDLE)
def test_an_option_without_effect_is_accepted_with_a_note(write, override):
    assert notes(load_options(write(HEAD), [override])) == [IDLE[override]]


def test_options_at_their_defaults_or_with_what_they_need_get_no_note(write):
    overrides = ["train.ema_power=2", "train.ema_decay=0.9", "datasets.val={use_rot: true, lq_size: null}"]
    assert load_options(write(HEAD), overrides).notes == ()
    two = "train.losses=[{type: L1Loss}, {type: MSELoss}]"
    assert load_options(write(HEAD), ["train.dynamic_loss_scheduling=true", two]).notes == ()


def test_folders_of_another_run_are_noticed(write):
    text = (
        HEAD + "path: {models: experiments/old/models, log: experiments/n/log, training_states: elsewhere}\n"
    )
    (said,) = notes(load_options(write(text)), logging.WARNING)
    assert said.startswith("path.models: lies in the folder of another run, 'old'")
    assert run_of("runs/a/b", "runs") == "a" and run_of("runs", "runs") == "" == run_of("run/a", "runs")
