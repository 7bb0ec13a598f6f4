"""`python train.py` as its users call it: mistakes, checks, signals, endings."""

import json
import os
import signal
import threading
import time

import forked
import pytest
import small_run
from safetensors import safe_open

from traiNNer.archs import build_network
from traiNNer.build.outputs import run_folder
from traiNNer.cli import train as launch
from traiNNer.options import load_options
from traiNNer.runtime import run_dir
from traiNNer.training import checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    small_run.write_data(path)
    return path


@pytest.fixture(scope="module")
def finished(folder):
    """A run to its end; what it printed, and its folder."""
    file = small_run.write_options(folder, small_run.options(folder))
    return small_run.train(file, "logger.use_tb_logger=true"), folder / "experiments" / "small"


def test_a_run_leaves_the_files_that_users_know(finished):
    printed, run = finished
    assert printed.returncode == 0, printed.stdout + printed.stderr
    models = {path.name for path in (run / "models").iterdir()}
    numbers = (6, 12, 18, 20)
    assert models == {f"net_g_{kind}{n}.safetensors" for kind in ("", "ema_") for n in numbers} | {
        "net_g_best.safetensors"
    }
    assert sorted(p.name for p in (run / "training_states").iterdir()) == ["12.state", "18.state", "20.state"]
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["iterations"], summary["samples"]) == ("completed", 20, 80)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["iter"] for r in records if r["kind"] == "train"] == [5, 10, 15, 20]
    assert [r["iter"] for r in records if r["kind"] == "val"] == [8, 16, 20]
    assert "bicubic" in printed.stdout
    assert "trained" in printed.stdout
    assert "iter 20/20" in (run / "train_small.log").read_text()


def test_released_weights_say_how_to_rebuild_their_network(finished):
    with safe_open(finished[1] / "models/net_g_best.safetensors", "pt") as file:
        about = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    net = build_network({"type": about["architecture"], **json.loads(about["options"])})
    net.load_state_dict(weights, strict=True)
    assert about["scale"] == "2"


def test_the_resolved_options_are_a_configuration_with_origins(finished):
    path = finished[1] / "resolved.yml"
    options = load_options(path)
    assert options.train.total_iter == 20
    text = path.read_text()
    assert "use_tb_logger: true  # command line" in text
    assert "manual_seed: 0  # derived" in text
    assert "use_amp: false  # default" in text


def test_tensorboard_reads_the_curves_images_and_texts(finished):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(finished[1].parent / "tb_logger/small"))
    events.Reload()
    tags = events.Tags()
    wanted = {"train/loss/l1", "train/loss/mssim", "train/loss/total", "train/grad_norm/g", "val/val/psnr"}
    assert wanted | {"control/lr_g", "system/samples_per_s", "control/batch"} <= set(tags["scalars"])
    assert [point.step for point in events.Scalars("train/loss/l1")] == [5, 10, 15, 20]
    assert len(tags["images"]) == 2
    assert {"configuration/text_summary", "environment/text_summary"} <= set(tags["tensors"])


def test_every_mistake_is_said_at_once_with_its_line_and_no_traceback(folder):
    file = folder / "bad.yml"
    file.write_text(
        "name: bad\nscale: 2\nnetwork_g:\n  type: paragonsr2_nanno\n"
        "datasets:\n  train:\n    dataroot_gt: a\n    dataroot_lq: b\n    lq_size: 16\n"
        "train:\n  total_itr: 10\n  total_iter: 10\n  optim_g:\n    type: AdamW\n    lr: fast\n"
        "  losses:\n    - type: L1Los\n"
    )
    printed = small_run.train(file)
    assert printed.returncode == 2
    assert "Traceback" not in printed.stderr + printed.stdout
    assert "bad.yml:4:" in printed.stderr
    assert "did you mean 'paragonsr2_nano'" in printed.stderr
    assert "bad.yml:11:3: train.total_itr: unknown key; did you mean 'total_iter'" in printed.stderr
    assert "bad.yml:15:9: train.optim_g.lr: should be a number (got 'fast')" in printed.stderr
    assert "did you mean 'L1Loss'" in printed.stderr


def test_missing_images_are_a_data_error_in_words(folder):
    configuration = small_run.options(folder)
    configuration["datasets"]["train"]["dataroot_gt"] = str(folder / "nowhere")
    printed = small_run.train(small_run.write_options(folder, configuration))
    assert printed.returncode == 2
    assert "nowhere" in printed.stderr
    assert "Traceback" not in printed.stderr


def test_a_check_tries_everything_and_writes_nothing(folder):
    configuration = {**small_run.options(folder), "name": "checked"}
    before = sorted(folder.rglob("*"))
    file = small_run.write_options(folder, configuration)
    printed = small_run.train(file, "--check")
    assert printed.returncode == 0, printed.stdout + printed.stderr
    assert "parameters" in printed.stdout
    assert [p for p in sorted(folder.rglob("*")) if p != file] == [p for p in before if p != file]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_with_status_0_and_resuming_goes_on(folder, number):
    name = f"signalled{number}"
    configuration = {**small_run.options(folder, total_iter=100_000), "name": name}
    configuration["datasets"]["train"]["num_worker_per_gpu"] = 1
    file = small_run.write_options(folder, configuration)
    run = folder / "experiments" / name
    told = folder / f"{name}.txt"
    process = forked.start(launch.main, ["-opt", str(file), "val.val_enabled=false"], output=told)
    wait_for(
        lambda: (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size, process, told
    )
    os.killpg(process.pid, number)  # a terminal sends Ctrl-C to workers too
    codes, printed = forked.wait([process], seconds=60), told.read_text()
    assert codes == [0], printed
    assert "Traceback" not in printed
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    step = summary["iterations"]
    assert (run / f"training_states/{step}.state").exists()
    more = ["val.val_enabled=false", f"train.total_iter={step + 4}", "--auto_resume"]
    again = small_run.train(file, *more)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"iteration {step:,}" in again.stdout
    assert json.loads((run / "summary.json").read_text())["iterations"] == step + 4


def wait_for(condition, process, told, seconds=90):
    began = time.monotonic()
    while not condition():
        assert process.is_alive(), told.read_text()
        assert time.monotonic() - began < seconds
        time.sleep(0.05)


def test_a_second_run_of_a_name_moves_the_first_aside(folder):
    configuration = {**small_run.options(folder, total_iter=2), "name": "twice"}
    file = small_run.write_options(folder, configuration)
    for _ in range(2):
        assert small_run.train(file, "val.val_enabled=false").returncode == 0
    archived = list((folder / "experiments").glob("twice_archived_*"))
    assert len(archived) == 1
    assert (archived[0] / "summary.json").exists()


def test_going_back_to_a_named_state_keeps_what_comes_after_it_out_of_the_way(folder):
    configuration = {**small_run.options(folder), "name": "back"}
    file = small_run.write_options(folder, configuration)
    assert small_run.train(file).returncode == 0
    run = folder / "experiments/back"
    state = f"path.resume_state={run}/training_states/12.state"
    assert (
        small_run.train(file, state, "train.total_iter=14", "logger.save_checkpoint_freq=1").returncode == 0
    )
    assert sorted(p.name for p in (run / "training_states").glob("*.state")) == [
        "12.state",
        "13.state",
        "14.state",
    ]
    aside = {p.name for p in run.glob("training_states/abandoned_*/*")}
    assert aside == {"18.state", "20.state"}
    again = small_run.train(file, state, "train.total_iter=15", "--auto_resume")
    assert "iteration 14" in again.stdout  # the newest, not the named one, or every restart would go back


def test_states_that_do_not_fit_are_said_in_words(folder):
    configuration = {**small_run.options(folder, total_iter=6), "name": "unfit"}
    assert small_run.train(small_run.write_options(folder, configuration)).returncode == 0
    configuration["network_g"]["num_feat"] = 6
    printed = small_run.train(small_run.write_options(folder, configuration), "--auto_resume")
    assert printed.returncode == 2
    assert "does not fit this configuration" in printed.stderr
    broken = folder / "broken.state"
    broken.write_bytes(b"no state")
    printed = small_run.train(small_run.write_options(folder, configuration), f"path.resume_state={broken}")
    assert printed.returncode == 2
    assert "broken.state" in printed.stderr


def test_another_optimizer_begins_without_moments_and_says_so(folder):
    configuration = {**small_run.options(folder, total_iter=6), "name": "other_optimizer"}
    assert small_run.train(small_run.write_options(folder, configuration)).returncode == 0
    configuration["train"] |= {"total_iter": 8, "optim_g": {"type": "NAdam", "lr": 1e-3}}
    printed = small_run.train(small_run.write_options(folder, configuration), "--auto_resume")
    assert printed.returncode == 0, printed.stdout + printed.stderr
    assert "NAdam cannot use the moments of AdamW" in printed.stdout


def test_a_full_disk_ends_the_run_in_words_and_leaves_the_last_state_whole(folder, monkeypatch):
    configuration = {**small_run.options(folder), "name": "full"}
    write = checkpoint.write_state

    def write_or_fail(path, parts):
        if path.stem == "12":
            raise OSError(28, "No space left on device", str(path))
        write(path, parts)

    monkeypatch.setattr(checkpoint, "write_state", write_or_fail)
    printed = small_run.train(small_run.write_options(folder, configuration))
    run = folder / "experiments/full"
    assert printed.returncode == 1
    assert "No space left on device" in printed.stdout
    assert "choose a folder on another disk (path.experiments_root)" in printed.stdout
    assert "Traceback" not in printed.stdout + printed.stderr
    assert json.loads((run / "summary.json").read_text())["status"] == "failed"
    assert [p.name for p in run.glob("training_states/*")] == ["6.state"]
    assert checkpoint.read_state(run / "training_states/6.state")["progress"]["step"] == 6


def test_two_runs_of_one_name_do_not_share_a_folder(folder, monkeypatch):
    configuration = {**small_run.options(folder, total_iter=2), "name": "shared"}
    file = small_run.write_options(folder, configuration)
    monkeypatch.setattr(run_dir, "_PATIENCE", 0.3)
    lock = run_folder(load_options(file)).lock()
    printed = small_run.train(file)
    assert printed.returncode == 2
    assert f"name: another process ({os.getpid()} on " in printed.stderr
    threading.Timer(0.3, lock.release).start()
    monkeypatch.setattr(run_dir, "_PATIENCE", 60)
    assert small_run.train(file).returncode == 0  # it waited


def test_torchrun_without_its_launcher_and_the_reverse_are_mistakes(folder, monkeypatch):
    file = small_run.write_options(folder, small_run.options(folder))
    assert "torchrun" in small_run.train(file, "--launcher", "pytorch").stderr
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "--launcher pytorch" in small_run.train(file).stderr


def test_use_moa_trains_on_other_batches(folder):
    scores = []
    for mixed in (False, True):
        configuration = {**small_run.options(folder, total_iter=3, use_moa=mixed), "name": f"moa_{mixed}"}
        configuration["train"] |= {"moa_augs": ["mixup", "none"], "moa_probs": [1, 0]}
        assert small_run.train(small_run.write_options(folder, configuration)).returncode == 0
        records = (folder / f"experiments/moa_{mixed}/metrics.jsonl").read_text().splitlines()
        scores.append(json.loads(records[-1])["metrics"])
    assert scores[0] != scores[1]
