"""Adversarial training from the command line: what it writes, how it goes on, what it refuses."""

import json
import shutil

import pytest
import small_run
from tiny import FACTS_OF_RUN, TIMES, assert_same
from tracking.test_tensorboard import charts_without_a_curve, read

from traiNNer.archs.loading import load_network
from traiNNer.automations.stopping.early_stopping import IntelligentEarlyStopping
from traiNNer.build.automations import configured_controls
from traiNNer.build.replay import beginning
from traiNNer.cli.train import train
from traiNNer.control import Clip
from traiNNer.models.adversary import Adversary
from traiNNer.models.sr_model import SRModel
from traiNNer.options import load_options
from traiNNer.training.checkpoint import read_state

GAN = {"type": "GANLoss", "gan_type": "r3gan", "loss_weight": 0.1}
LATE = [{"type": "L1Loss"}, {**GAN, "start_iter": 10}]
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
        del state["origin"]  # the folders differ
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
        ({"scheduler_d": {"type": "MultiStepLR", "milestones": [9, 3]}}, "should rise (got [9, 3])"),
        ({"scheduler_d": {"type": "ReduceLROnPlateau"}}, "no metric is of this network"),
        (
            {
                "losses": [{"type": "L1Loss"}, {**GAN, "target_iter": 5, "target_weight": 1}],
                "net_d_start_iter": 9,
            },
            "losses.1: target_iter 5 must lie after start_iter 9",
        ),
        (
            {"losses": [*LATE, {"type": "FeatureMatchingLoss", "layers": ["conv3"], "start_iter": 10}]},
            "the discriminator has no map 'conv3'",
        ),
        (
            {"losses": LATE, "network_d": {"type": "vggstylediscriminator", "num_feat": 4, "input_size": 32}},
            "judges 32 x 32 pixels and got 48 x 48",
        ),
    ],
)
def test_a_mistake_in_the_game_is_refused_in_words(data, changes, words):
    printed = run(data, configuration(data, **changes), "--check", "datasets.train.lq_size=24")
    assert printed.returncode == 2
    assert words in " ".join((printed.stdout + printed.stderr).split())


def test_a_network_that_torch_cannot_derive_twice_is_refused_with_penalties(data, monkeypatch, capsys):
    """As dunet before torch 2.14, whose sampling at learned places has no second derivative there."""

    def fails(self, images):
        raise RuntimeError("derivative for aten::grid_sampler_2d_backward is not implemented\nmore")

    monkeypatch.setattr(Adversary, "rehearse_penalty", fails)
    file = data / "penalties.yml"
    file.write_text(json.dumps(configuration(data)))
    assert train(["-opt", str(file), "--check"]) == 2
    words = "munet cannot be trained with the penalties of this loss (r1_weight, r2_weight): derivative for"
    assert words in " ".join(capsys.readouterr().err.split())


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


def test_a_loss_that_begins_within_a_logging_interval_is_averaged_over_its_own_steps(data, tmp_path):
    shutil.copytree(data / "demo", tmp_path / "demo")
    late = configuration(tmp_path, {**GAN, "start_iter": 13})
    assert run(tmp_path, late, "logger.print_freq=20").returncode == 0
    line = json.loads((tmp_path / "experiments/small/metrics.jsonl").read_text().splitlines()[-1])
    events = (tmp_path / "experiments/small/events.jsonl").read_text().splitlines()
    windows = [event for event in map(json.loads, events) if event["kind"] == "WindowEvent"]
    values = windows[-1]["losses"]["gan"]
    assert values[:3] == ["nan"] * 3
    records = [json.loads(x) for x in (tmp_path / "experiments/small/metrics.jsonl").read_text().splitlines()]
    line = next(record for record in records if record["kind"] == "train")
    assert line["loss"]["gan"] == pytest.approx(sum(values[3:]) / 7)


def test_a_limit_of_gradients_is_of_both_networks(data):
    options = load_options(small_run.write_options(data, configuration(data)), ["train.grad_clip=true"])
    assert configured_controls(options).clip == {"g": Clip(1.0, 1.0), "d": Clip(1.0, 1.0)}
    alone = small_run.write_options(data, small_run.options(data, grad_clip=True))
    assert configured_controls(load_options(alone)).clip == {"g": Clip(1.0, 1.0)}


def test_automations_are_told_which_patch_is_too_small_and_which_losses_are_of_the_game(data, tmp_path):
    shutil.copytree(data / "demo", tmp_path / "demo")
    vgg = {"type": "vggstylediscriminator", "num_feat": 4, "input_size": 32}
    assert run(tmp_path, configuration(tmp_path, network_d=vgg, total_iter=1)).returncode == 0
    facts = json.loads((tmp_path / "experiments/small/facts.json").read_text())
    assert facts["smallest_patch"] == 16 and facts["judged_losses"] == ["gan"]


def test_memory_is_probed_in_a_step_with_penalties_after_one_that_moves_both(data, monkeypatch):
    steps = []
    done = SRModel.optimize_parameters

    def noting(model, batch, step, controls):
        due = step % 3 == 0
        steps.append((len(batch.lq), due, model.adversary.updates_generator(step), step >= 13))
        done(model, batch, step, controls)

    monkeypatch.setattr(SRModel, "optimize_parameters", noting)
    options = configuration(data, {**GAN, "start_iter": 13}, net_d_iters=2)
    options["datasets"]["train"]["batch_size_per_gpu"] = "auto"
    assert run(data, options, "--check").returncode == 0
    first, *probes = steps[:-1]  # the last is the check's own
    assert first[0] == 1 and first[2] and first[3]
    assert probes and all(due and late for _, due, _, late in probes)


def test_a_replay_knows_that_net_d_start_iter_is_the_first_step_of_the_game(data):
    stopping = {"enabled": True, "min_iterations": 1, "warmup_iterations": 0}
    automations = {"IntelligentEarlyStopping": stopping}
    late = configuration(data, net_d_start_iter=12, training_automations=automations)
    supervisor, _ = beginning(load_options(small_run.write_options(data, late)), FACTS_OF_RUN)
    automation = supervisor.automations["IntelligentEarlyStopping"]
    assert isinstance(automation, IntelligentEarlyStopping) and automation._earliest == 12
