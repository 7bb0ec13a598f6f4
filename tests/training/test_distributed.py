"""Two processes are one run with twice the batch."""

import json
import shutil

import forked
import pytest
import small_run
import torch
from safetensors.torch import load_file
from training import supervised_process

from traiNNer.cli import train as launch
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.training.checkpoint import read_state


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    small_run.write_data(path)
    return path


def torchrun(processes: int) -> tuple[str, ...]:
    rendezvous = ("--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0")
    return ("-m", "torch.distributed.run", f"--nproc_per_node={processes}", *rendezvous)


def together(folder, target, *arguments):
    """Two processes of one run, spared the seconds of torchrun and of their own start."""
    codes = forked.wait(forked.start_together(2, target, *arguments, folder=folder))
    assert codes == [0, 0], "".join((folder / f"rank{rank}.txt").read_text() for rank in range(2))


def run(folder, name, batch, processes, *arguments):
    configuration = {**small_run.options(folder, optim_d={"type": "AdamW", "lr": 1e-4}), "name": name}
    configuration["network_d"] = {"type": "munet", "num_feat": 4, "ch_mult": [1, 2]}
    configuration["train"]["losses"].append({"type": "GANLoss", "r1_weight": 1.0, "loss_weight": 0.01})
    configuration["datasets"]["train"]["batch_size_per_gpu"] = batch
    configuration["val"] = {"val_freq": 20}
    file = folder / f"{name}.yml"
    file.write_text(json.dumps(configuration))
    if arguments:
        together(folder, launch.train, ["-opt", str(file), "--launcher", "pytorch", *arguments])
        return folder / "experiments" / name
    if processes > 1:
        printed = small_run.train_by(torchrun(processes), file, "--launcher", "pytorch")
    else:
        printed = small_run.train(file)
    assert printed.returncode == 0, printed.stdout + printed.stderr
    return folder / "experiments" / name


@pytest.fixture(scope="module")
def two(folder):
    return run(folder, "two", 4, 2)


def test_two_processes_end_with_the_weights_of_one_with_twice_the_batch(folder, two):
    one = run(folder, "one", 8, 1)
    for net in ("net_g_20", "net_d_20"):
        left, right = (load_file(path / f"models/{net}.safetensors") for path in (one, two))
        for name, tensor in left.items():
            torch.testing.assert_close(tensor, right[name], rtol=0, atol=1e-5)
    scores = []
    for path in (one, two):
        records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        scores.append([r["metrics"]["psnr"] for r in records if r["kind"] == "val"])
        assert [r["iter"] for r in records if r["kind"] == "train"] == [5, 10, 15, 20]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
    assert (two / "summary.json").exists()


def test_two_processes_resume_as_if_nothing_had_happened(folder, two):
    part = folder / "experiments/part"
    shutil.copytree(two, part)  # as if killed between the states of 12 and 18
    for state in ("18", "20"):
        (part / f"training_states/{state}.state").unlink()
    run(folder, "part", 4, 2, "--auto_resume")
    whole, resumed = (read_state(path / "training_states/20.state") for path in (two, part))
    for player in ("generator", "discriminator"):
        for name, tensor in whole["model"][player]["net"].items():
            assert torch.equal(tensor, resumed["model"][player]["net"][name])


def flags(folder):
    """What the second process says is heard by both."""
    processes = DistributedContext.start("pytorch", cpu=True)
    seen = f"{processes.any(processes.rank == 1)} {processes.maximum([processes.rank, 5.0])}"
    (folder / f"seen{processes.rank}").write_text(seen)
    processes.end()


def test_a_flag_of_one_process_is_seen_by_all(tmp_path):
    together(tmp_path, flags, tmp_path)
    assert [(tmp_path / f"seen{rank}").read_text() for rank in "01"] == ["True [1.0, 5.0]"] * 2


AUTOMATIONS = {
    "enabled": True,
    "IntelligentLearningRateScheduler": {"enabled": True},
    "DynamicBatchSizeOptimizer": {"enabled": True},
    "AdaptiveGradientClipping": {"enabled": True, "monitoring_frequency": 10},
    "IntelligentEarlyStopping": {"enabled": True},
}


ALL = {
    "total_iter": 30,
    "training_automations": AUTOMATIONS,
    "dynamic_loss_scheduling": {"auto_calibrate": True},
}


def supervised(folder, name, failing, batch, accum, train=ALL):
    """A run of two processes; what each of them recorded, and the folder of the run."""
    configuration = small_run.options(folder, **train)
    configuration["name"] = name
    configuration["datasets"]["train"] |= {"batch_size_per_gpu": batch, "accum_iter": accum}
    file = folder / f"{name}.yml"
    file.write_text(json.dumps(configuration))
    records = folder / f"records_{name}"
    records.mkdir()
    together(folder, supervised_process.main, records, failing, ["-opt", str(file), "--launcher", "pytorch"])
    lines = [(records / f"{rank}.jsonl").read_text().splitlines() for rank in "01"]
    return [[json.loads(line) for line in part] for part in lines], folder / "experiments" / name


def test_processes_with_different_data_decide_alike_and_repeat_together_a_step_that_failed_on_one(folder):
    (main, other), root = supervised(folder, "failed", "fail", 4, 1)
    assert main == other
    answers = [answer for kind, _, given in main if kind != "weights" for answer in given]
    deciding = {"AdaptiveGradientClipping", "DynamicBatchSizeOptimizer", "DynamicLossScheduling"}
    assert {name for name, _, _ in answers} >= deciding
    repeats = [(step, given[0][2]["micro_batch"]) for kind, step, given in main if kind == "OutOfMemoryEvent"]
    assert repeats == [(0, 2), (0, 1)]
    assert json.loads((root / "summary.json").read_text())["iterations"] == 30

    (spared, _), _ = supervised(folder, "spared", "spare", 1, 4)
    assert [line for line in main if line[0] != "OutOfMemoryEvent"] == spared


@pytest.mark.slow
def test_processes_with_different_data_find_the_same_rate_also_where_one_has_less_memory(folder):
    searched = {
        "total_iter": 1400,
        "optim_g": {"type": "AdamW", "lr": "auto"},
        "losses": [{"type": "L1Loss"}],
    }
    (main, other), _ = supervised(folder, "searched", "fail", 4, 1, searched)
    assert main == other
    assert [kind for kind, _, _ in main].count("TrialEvent") >= 2
    *_, ((name, applied, found),) = (given for kind, _, given in main if kind == "TrialEvent")
    assert name == "LearningRateSearch" and applied and found["rate"] == 5e-4 * found["factor"]
