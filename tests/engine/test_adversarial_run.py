"""Adversarial training from the command line: what it writes, how it goes on, what it refuses."""

import json
import shutil

import pytest
import small_run
from engine.test_dashboard import charts_without_a_curve, read
from tiny import TIMES, assert_same

from traiNNer.archs.loading import load_network
from traiNNer.engine.checkpoint import read_state

GAN = {"type": "GANLoss", "gan_type": "r3gan", "loss_weight": 0.1}
MUNET = {"type": "munet", "num_feat": 4, "ch_mult": [1, 2]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adversarial")
    small_run.write_data(folder)
    return folder


def configuration(folder, *losses, network_d=MUNET, **train):
    usual = {
        "losses": [{"type": "L1Loss"}, *(losses or [GAN])],
        "optim_d": {"type": "AdamW", "lr": 1e-4},
        "net_d_reg_every": 3,
        "training_automations": {"AdaptiveGradientClipping": {"enabled": True}},
    }
    options = small_run.options(folder, **{**usual, **train})
    return options | ({"network_d": network_d} if network_d else {})


def run(folder, options, *arguments):
    return small_run.train(small_run.write_options(folder, options), *arguments)


@pytest.fixture(scope="module")
def finished(data):
    printed = run(data, configuration(data), "logger.use_tb_logger=true")
    assert printed.returncode == 0, printed.stdout
    return data / "experiments/small", printed


def test_a_run_trains_both_and_says_how_the_game_stands(finished):
    folder, printed = finished
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    records = [line for line in lines if line["kind"] == "train"]
    assert all({"l_d", "out_d_real", "out_d_fake", "l_d_penalty"} == set(r["discriminator"]) for r in records)
    assert all(set(r["grad_norm"]) == set(r["lr"]) == {"g", "d"} for r in records)
    assert records[0]["lr"]["g"] == pytest.approx(10 * records[0]["lr"]["d"])
    assert "out_d_real" in printed.stdout and "grad_clip_threshold_d" in printed.stdout


def test_the_dashboard_has_charts_of_the_discriminator_and_curves_for_them(finished):
    folder, _ = finished
    events = read(folder.parent / "tb_logger/small")
    without = charts_without_a_curve(events)
    assert {"Loss and penalty", "Mean logits"}.isdisjoint(without)
    assert {
        f"train/discriminator/{name}" for name in ("l_d", "l_d_penalty", "out_d_real", "out_d_fake")
    } <= set(events.Tags()["scalars"])


def test_the_discriminator_is_a_file_that_loads_and_that_the_next_run_can_begin_with(
    finished, data, tmp_path
):
    folder, _ = finished
    weights = folder / "models/net_d_20.safetensors"
    net = load_network(weights)
    state = read_state(folder / "training_states/20.state")["model"]["discriminator"]["net"]
    assert_same(dict(net.state_dict()), dict(state.items()))
    shutil.copytree(data / "demo", tmp_path / "demo")
    options = configuration(tmp_path, net_d_start_iter=20)  # so that it stays what it was
    options["path"]["pretrain_network_d"] = str(weights)
    assert run(tmp_path, options).returncode == 0
    after = load_network(tmp_path / "experiments/small/models/net_d_20.safetensors")
    assert_same(dict(net.state_dict()), dict(after.state_dict()))


def test_a_run_that_went_on_equals_one_that_was_not_interrupted(finished, data, tmp_path):
    folder, _ = finished
    shutil.copytree(data / "demo", tmp_path / "demo")
    shutil.copytree(folder, tmp_path / "experiments/small")
    for state in ("18", "20"):
        (tmp_path / f"experiments/small/training_states/{state}.state").unlink()
    printed = run(tmp_path, configuration(tmp_path), "--auto_resume")
    assert "Going on from" in printed.stdout and "iteration 12" in printed.stdout
    one, other = (
        read_state(f / "training_states/20.state") for f in (folder, tmp_path / "experiments/small")
    )
    for state in (one, other):
        del state["recorder"]["dashboard"]  # the second has none
    assert_same(one, other, but=TIMES)
    for name in ("net_d_20", "net_g_20", "net_g_ema_20"):
        files = [f / f"models/{name}.safetensors" for f in (folder, tmp_path / "experiments/small")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_an_adversarial_loss_that_begins_late_brings_the_discriminator_with_it(data, tmp_path):
    shutil.copytree(data / "demo", tmp_path / "demo")
    late = configuration(tmp_path, {**GAN, "start_iter": 10})
    assert run(tmp_path, late).returncode == 0
    folder = tmp_path / "experiments/small"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    played = {line["iter"]: "discriminator" in line for line in lines if line["kind"] == "train"}
    assert played == {5: False, 10: False, 15: True, 20: True}
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [e["iter"] for e in events if e["kind"] == "ChangeEvent" and e["control"] == "losses"] == [10]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"losses": [{"type": "L1Loss"}]}, "no loss trains it; add {type: GANLoss"),
        ({"network_d": None}, "needs a discriminator; add network_d, such as {type: munet}"),
        ({"losses": [{"type": "L1Loss"}, GAN, GAN]}, "is a second adversarial loss"),
        ({"network_d": {"type": "munte"}}, "did you mean 'munet'"),
        ({"network_d": {"type": "compact"}}, "compact is a generator, not a discriminator"),
        ({"network_d": {"type": "munet", "ch_mult": [1] * 6}}, "needs patches of at least 64 pixels"),
        ({"net_d_iters": 0}, "net_d_iters"),
        ({"optim_d": {"type": "AdamW", "learning_rate": 1}}, "optim_d.learning_rate"),
        ({"scheduler_d": {"type": "MultiStepLR", "milestone": [1]}}, "scheduler_d.milestone"),
        ({"scheduler_d": {"type": "ReduceLROnPlateau"}}, "no metric is of this network"),
    ],
)
def test_a_mistake_in_the_game_is_refused_in_words(data, changes, words):
    printed = run(data, configuration(data, **changes), "--check")
    assert printed.returncode == 2
    assert words in " ".join((printed.stdout + printed.stderr).split())


def test_a_generator_is_not_taken_for_a_discriminator_nor_the_other_way_round(data):
    options = configuration(data)
    options["network_g"] = MUNET
    printed = run(data, options, "--check")
    assert printed.returncode == 2
    assert "munet is a discriminator, not a generator" in printed.stdout + printed.stderr


def test_the_discriminator_may_have_a_schedule_of_its_own(data, tmp_path):
    shutil.copytree(data / "demo", tmp_path / "demo")
    own = {"type": "MultiStepLR", "milestones": [4], "gamma": 0.5}
    assert run(tmp_path, configuration(tmp_path, scheduler_d=own, total_iter=10)).returncode == 0
    lines = (tmp_path / "experiments/small/metrics.jsonl").read_text().splitlines()
    rates = [line["lr"]["d"] for line in map(json.loads, lines) if line["kind"] == "train"]
    assert rates == pytest.approx([0.5e-4, 0.5e-4])


def test_without_an_optimizer_of_its_own_the_discriminator_has_that_of_the_generator(data, tmp_path):
    shutil.copytree(data / "demo", tmp_path / "demo")
    assert run(tmp_path, configuration(tmp_path, optim_d=None, total_iter=5)).returncode == 0
    rates = json.loads((tmp_path / "experiments/small/facts.json").read_text())["learning_rates"]
    assert rates == {"g": 1e-3, "d": 1e-3}
