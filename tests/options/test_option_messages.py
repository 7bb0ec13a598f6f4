"""Every problem of a configuration, at once, with its place, its value and the nearest name."""

import copy
import logging

import pytest
import yaml
from full_example import FULL

from traiNNer.build.check import check_parts
from traiNNer.options import load_options
from traiNNer.registry import ConfigError, Problem


def problems(path, overrides=(), **kwargs):
    with pytest.raises(ConfigError) as error:
        load_options(path, overrides, **kwargs)
    return list(error.value.problems)


def test_every_problem_is_reported_at_once_by_line_with_place_value_and_nearest_name(write):
    path = write("""\
name: a/b
scale: 2
datasets: {train: {lq_size: 64, gt_size: 100}, valid: {skip_bad_image: true}, other: {}}
train:
  total_itr: 100
  optim_g:
    type: AdamW
    lr:                      fast
  grad_clip: yes
  losses: [{type: L1Loss, loss_weight: x}, 5, {loss_weight: 1}]
network_g: {type: x, scale: 4}
manual_seed: -1
total_iter: 5
val: {val_freq: 0, tile_size: 32, tile_overlap: 32}
logger: {keep_models: some, save_checkpoint_format: onnx}
""")
    assert problems(path) == [
        "bad.yml:1:7: name: should be a name for a folder, without / \\ : * ? \" < > | (got 'a/b')",
        "bad.yml:3:42: datasets.train.gt_size: should be lq_size * scale = 64 * 2 = 128 (got 100)",
        "bad.yml:3:56: datasets.valid.skip_bad_image: unknown key; did you mean 'skip_bad_images'?",
        "bad.yml:3:79: datasets.other: unknown key; validation sets begin with 'val'",
        "bad.yml:4:1: train.total_iter: is required",
        "bad.yml:5:3: train.total_itr: unknown key; did you mean 'total_iter'?",
        "bad.yml:8:30: train.optim_g.lr: should be a number (got 'fast')",
        "bad.yml:9:14: train.grad_clip: should be true or false (got 'yes')",
        "bad.yml:10:40: train.losses.0.loss_weight: should be a number (got 'x')",
        "bad.yml:10:44: train.losses.1: should be a mapping (key: value) (got 5)",
        "bad.yml:10:47: train.losses.2.type: is required",
        "bad.yml:11:29: network_g.scale: should equal the scale of the run, which is 2 (got 4)",
        "bad.yml:12:14: manual_seed: should be a whole number of at least 0, or 'auto' (got -1)",
        "bad.yml:13:1: total_iter: unknown key; it belongs under train",
        "bad.yml:14:17: val.val_freq: should be a whole number of at least 1, or 'auto' (got 0)",
        "bad.yml:14:49: val.tile_overlap: should be below tile_size, which is 32 (got 32)",
        "bad.yml:15:23: logger.keep_models: should be a whole number of at least 1, or 'all' (got 'some')",
        "bad.yml:15:53: logger.save_checkpoint_format: should be 'safetensors' or 'pth' (got 'onnx')",
    ]


CONTRADICTIONS = {
    "datasets: {train: {gt_size: 33}}": "gt_size: should be a multiple of the scale, which is 2 (got 33)",
    "datasets: {val: {scale: 3}}": "val.scale: should equal the scale of the run (got 3)",
    "train: {total_iter: 5, warmup_iter: 5}": "warmup_iter: should be below total_iter, which is 5 (got 5)",
    "train: {total_iter: 5, scheduler: {type: MultiStepLR, milestones: [3, 2]}}": "should rise (got [3, 2])",
    "train: {total_iter: 5, ema_decay: 1}": "train.ema_decay: should be less than 1 (got 1)",
    "train: {total_iter: 1.5}": "train.total_iter: should be a whole number (got 1.5)",
    "train: {total_iter: true}": "train.total_iter: should be a whole number (got True)",
    "train: {total_iter: 5, losses: 3}": "train.losses: should be a list (got 3)",
    "train: 3": "bad.yml:3:8: train: should be a mapping (key: value) (got 3)",
    "train: {total_iter: 5, use_moa: true, moa_augs: [none, mixup]}": "each of the 2 moa_augs (got 5)",
    "train: {total_iter: 5, use_moa: true, moa_augs: [none, none], moa_probs: [0.5, 0.5]}": "each mixture once",
    "train: {total_iter: 5, use_moa: true, moa_augs: [none, downup], moa_probs: [0, 1]}": "(got 'downup')",
    "train: {total_iter: 5, use_moa: true, moa_augs: [none, mixup], moa_probs: [0.5, 0.2]}": (
        "moa_probs: should add up to 1 (got 0.7)"
    ),
    "train: {total_iter: 5, use_moa: true}\ndatasets: {train: {batch_size_per_gpu: 1}}": (
        "train.use_moa: needs a batch of at least 2 samples"
    ),
    "launcher: slurm": "launcher: should be 'none' or 'pytorch' (got 'slurm')",
    "name: ..": "should be a name for a folder",
}


@pytest.mark.parametrize("text", CONTRADICTIONS)
def test_values_that_cannot_be_are_refused(write, text):
    head = "scale: 2\nname: n\n".replace("name: n\n", "" if text.startswith("name") else "name: n\n")
    train = "" if text.startswith("train") else "\ntrain: {total_iter: 5}"
    (line,) = problems(write(head + text + train))
    assert CONTRADICTIONS[text] in line


def test_a_name_that_is_cut_short_is_completed_where_one_is_meant(write):
    assert problems(write("name: n\nscale: 2\ndatasets: {val: {num_worker: 8, datar: x}}\n")) == [
        "bad.yml:3:18: datasets.val.num_worker: unknown key; did you mean 'num_worker_per_gpu'?",
        "bad.yml:3:33: datasets.val.datar: unknown key",
    ]


def test_a_training_set_needs_a_training(write):
    (line,) = problems(write("name: n\nscale: 2\ndatasets: {train: {}}\n"))
    assert line == "bad.yml:1:1: train: is required where there is a data set to train on"


def test_bf16_without_amp_is_said_to_have_no_effect(write):
    (note,) = load_options(write("name: n\nscale: 2\namp_bf16: true\n")).notes
    assert note == (logging.WARNING, "bad.yml:3:1: amp_bf16: has no effect without use_amp: true")


def test_options_of_a_discriminator_that_is_not_there_are_said_to_have_no_effect(write):
    train = "train: {total_iter: 5, optim_d: {type: Adam}, net_d_start_iter: 2}"
    text = f"name: n\nscale: 2\npath: {{pretrain_network_d: d.pth}}\n{train}\n"
    notes = [text.split(": ")[1] for _, text in load_options(write(text)).notes]
    assert notes == ["train.optim_d", "train.net_d_start_iter", "path.pretrain_network_d"]
    assert load_options(write(f"{text}network_d: {{type: munet}}\n")).notes == ()


def test_files_that_cannot_be_read_are_named(tmp_path):
    assert "cannot be read" in problems(tmp_path / "missing.yml")[0]
    (tmp_path / "latin.yml").write_bytes(b"name: caf\xe9")
    (said,) = problems(tmp_path / "latin.yml")
    assert said.endswith("is not UTF-8 text (byte 9); save it anew with the encoding UTF-8")


def test_what_powershell_writes_is_read_by_its_mark_or_told_what_to_do(tmp_path):
    text = "name: caf\u00e9\nscale: 2\n"
    for encoding in ("utf-8-sig", "utf-16", "utf-16-be"):
        mark = "\ufeff" if encoding == "utf-16-be" else ""
        (tmp_path / "bad.yml").write_text(mark + text, encoding=encoding)
        assert load_options(tmp_path / "bad.yml").name == "caf\u00e9"
    (tmp_path / "bad.yml").write_text("name: x\n", encoding="utf-16-le")
    assert "is this UTF-16? save it anew with the encoding UTF-8" in problems(tmp_path / "bad.yml")[0]


def test_problems_of_parts_come_together_with_those_of_the_tree(write):
    path = write(FULL.replace("print_freq: 10", "print_freq: x").replace("total_iter: 1e3", "total_iter: x"))
    seen = {}

    def check(raw):
        seen.update(copy.deepcopy(dict(raw)))
        return [
            Problem(("network_g", "channels"), "unknown parameter of network 'ParagonSR2'"),
            Problem(("train", "losses", 1, "type"), "no loss named 'SSIMLoss'"),
            Problem(("train", "total_iter"), "a second opinion on what is known to be wrong"),
        ]

    assert problems(path, check=check) == [
        "bad.yml:7:41: network_g.channels: unknown parameter of network 'ParagonSR2'",
        "bad.yml:9:15: train.total_iter: should be a whole number (got 'x')",
        "bad.yml:15:14: train.losses.1.type: no loss named 'SSIMLoss'",
        "bad.yml:20:22: logger.print_freq: should be a whole number (got 'x')",
    ]
    assert "total_iter" not in seen["train"] and seen["train"]["losses"][1] == {"type": "SSIMLoss"}
    assert seen["val"]["metrics"] == {"psnr": {"better": "higher", "type": "psnr"}, "ssim": {"type": "ssim"}}


def test_a_check_sees_mappings_and_lists_whatever_was_written(write):
    text = "name: 3\nscale: x\nnetwork_g: 4\ntrain: {losses: 5, optim_g: 6, scheduler: []}\n"
    text += "val: {metrics: {a: 7}}\n"
    raws = []

    def check(raw):
        raws.append(raw)
        return []

    assert len(problems(write(text + "datasets: [8]\nlogger: 9\n"), check=check)) == 10
    empty = {"network_g": {}, "datasets": {}, "logger": {}, "val": {"metrics": {"a": {}}}}
    assert raws == [{**empty, "train": {"losses": [], "optim_g": {}, "scheduler": {}}}]


def test_wrong_overrides_are_said_to_come_from_the_command_line(write):
    overrides = ["train.total_itr=100", "foo", "train..x=1", "train.losses.7.x=1", "scale.x=3"]
    overrides += ["val.val_freq=often", "name=[", "train.losses.first=1"]
    overrides += ["train.early_stoping.patience=5", "trian.total_iter=9"]
    assert problems(write(FULL), overrides) == [
        "command line: foo: should be key.sub=value",
        "command line: name: a value is missing, or begins with a character that must be quoted",
        "command line: scale.x: there is no such place to put a value",
        "command line: train..x=1: should be key.sub=value",
        "command line: train.losses.7.x: there is no such place to put a value",
        "command line: train.losses.first: there is no such place to put a value",
        "command line: train.early_stoping: unknown key",
        "command line: train.total_itr: unknown key; did you mean 'total_iter'?",
        "command line: trian: unknown key; did you mean 'train'?",
        "command line: val.val_freq: should be a whole number of at least 1, or 'auto' (got 'often')",
    ]


@pytest.mark.parametrize(
    ("schedule", "said"),
    {
        "start_iter: [[]]": "train.losses.0.start_iter: should be a whole number (got [[]])",
        "start_iter: soon": "train.losses.0.start_iter: should be a whole number (got 'soon')",
        "disable_after: 1.5": "train.losses.0.disable_after: should be a whole number (got 1.5)",
        "schedule_type: x": "train.losses.0.schedule_type: should be 'linear', 'cosine' or 'step' (got 'x')",
        "target_iter: 9": "train.losses.0: target_iter and target_weight belong together",
        "{target_iter: 9, target_weight: .inf}": "train.losses.0: target_weight should be a finite number",
        "{start_iter: 9, disable_after: 8}": "train.losses.0: disable_after 8 lies before start_iter 9",
    }.items(),
)
def test_when_a_loss_is_on_is_checked_before_it_is_built(schedule, said):
    tree = {"train": {"losses": [{"type": "L1Loss", **yaml.safe_load(schedule)}]}}
    problems = {f"{'.'.join(map(str, problem.path))}: {problem.message}" for problem in check_parts(tree)}
    assert any(line.startswith(said) for line in problems), problems
    tree["train"]["losses"][0] = {"type": "L1Loss", "start_iter": None, "schedule_type": "cosine"}
    assert not [problem for problem in check_parts(tree) if "losses" in problem.path]
