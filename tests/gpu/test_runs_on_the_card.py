"""Whole runs by the real train.py on the card: resuming, distributed, in every precision."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import small_run
import torch
from gpu import gloo_on_one_card
from gpu.on_device import assert_near, model_on, pixels, weights_of
from safetensors.torch import load_file

from traiNNer.control import Controls

TORCHRUN = ("-m", "torch.distributed.run", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    small_run.write_data(path)
    return path


def configured(data, folder, name, device, **top):
    """A file with deterministic algorithms, over the shared data."""
    options = small_run.options(data)
    options |= {"name": name, "num_gpu": int(device.type == "cuda"), "deterministic": True, **top}
    options["path"] = {"experiments_root": str(folder / "experiments")}
    options["logger"]["keep_training_states"] = 9
    options["logger"]["keep_models"] = 9
    file = folder / f"{name}.yml"
    file.write_text(json.dumps(options))
    return file


def in_a_process(file, *arguments):
    printed = small_run.train_by((), file, *arguments)
    assert printed.returncode == 0, printed.stdout + printed.stderr
    return printed


def assert_same_files(one, other):
    names = sorted(path.name for path in (one / "models").iterdir())
    assert names == sorted(path.name for path in (other / "models").iterdir())
    for name in names:
        left, right = (load_file(path / "models" / name) for path in (one, other))
        assert all(torch.equal(tensor, right[key]) for key, tensor in left.items()), name


ADVERSARIAL = {
    "use_amp": True,
    "network_g": {"type": "paragonsr2_realtime"},
    "network_d": {"type": "munet", "num_feat": 4, "ch_mult": [1, 2]},
}
GAN = {"type": "GANLoss", "r1_weight": 1.0, "loss_weight": 0.01}


@pytest.mark.parametrize(
    "top", [{}, {"use_amp": True, "amp_bf16": True}, ADVERSARIAL], ids=["fp32", "bf16", "fp16-adversarial"]
)
def test_a_run_resumed_with_deterministic_algorithms_ends_in_the_same_bits(top, device, data, tmp_path):
    file = configured(data, tmp_path, "run", device, **top)
    if "network_d" in top:
        options = json.loads(file.read_text())
        options["train"]["losses"].append(GAN)
        file.write_text(json.dumps(options))
    in_a_process(file)
    root = tmp_path / "experiments/run"
    whole = tmp_path / "whole"
    shutil.copytree(root, whole)
    for path in (root / "training_states").iterdir():
        if path.stem != "6":
            path.unlink()  # as if the run had been killed soon after step 6
    for path in (root / "models").iterdir():
        if not path.stem.endswith("_6"):
            path.unlink()
    in_a_process(file, "--auto_resume")
    assert_same_files(whole, root)


@pytest.mark.parametrize(
    "top",
    [
        {},
        {"use_amp": True},
        {"use_amp": True, "amp_bf16": True},
        {"fast_matmul": True},
        {"use_channels_last": False},
    ],
    ids=["fp32", "fp16", "bf16", "tf32", "contiguous"],
)
def test_train_py_completes_and_learns_in_every_precision(top, device, data, tmp_path):
    file = configured(data, tmp_path, "run", device, **top, deterministic=False)
    assert small_run.train(file).returncode == 0
    root = tmp_path / "experiments/run"
    summary = json.loads((root / "summary.json").read_text())
    assert (summary["status"], summary["iterations"]) == ("completed", 20)
    assert device.type in summary["environment"]["device"]
    records = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"]["l1"] for record in records if record["kind"] == "train"]
    assert losses[-1] < losses[0]


# --- several processes -------------------------------------------------------------------------------------


def test_two_processes_on_one_card_by_gloo_are_one_with_twice_the_batch(device, tmp_path):
    file = tmp_path / "weights.pt"
    script = gloo_on_one_card.__file__
    printed = subprocess.run(
        [sys.executable, *TORCHRUN, "--nproc_per_node=2", script, str(device), str(file)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([*sys.path[:1], str(small_run.ROOT), str(small_run.ROOT / "tests"),
                                           os.environ.get("PYTHONPATH", "")]),
        },
        timeout=120,
    )  # fmt: skip
    assert printed.returncode == 0, printed.stdout + printed.stderr
    one = model_on(device, optimizer={"type": "SGD"})
    for step in range(gloo_on_one_card.STEPS):
        one.optimize_parameters(pixels(seed=step), step, Controls(8, 8, 16))
    assert_near(torch.load(file), weights_of(one), 1e-5)


def test_one_process_by_nccl_is_a_run_without_it(device, data, tmp_path):
    files = [configured(data, tmp_path, name, device) for name in ("plain", "launched")]
    in_a_process(files[0])
    printed = small_run.train_by((*TORCHRUN, "--nproc_per_node=1"), files[1], "--launcher", "pytorch")
    assert printed.returncode == 0, printed.stdout + printed.stderr
    assert_same_files(tmp_path / "experiments/plain", tmp_path / "experiments/launched")


def test_nccl_adds_tensors_of_this_card(card, tmp_path):
    """In a process of its own, whose end closes the group."""
    program = (
        "import torch, torch.distributed as dist\n"
        f"dist.init_process_group('nccl', init_method='file://{tmp_path}/meet', rank=0, world_size=1)\n"
        "x = torch.arange(5.0, device='cuda')\n"
        "dist.all_reduce(x)\n"
        "print(x.tolist())\n"
        "dist.destroy_process_group()\n"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=90)
    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout.splitlines()[-1]) == [0.0, 1.0, 2.0, 3.0, 4.0]
