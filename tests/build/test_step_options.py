"""Options of the step, from the file to what the step does: each would be missed if nothing read it."""

import json
import re

import pytest
import small_run
import torch
from safetensors.torch import save_file

from traiNNer.automations.losses.loss_schedule import LossSchedule
from traiNNer.build.check import check_parts
from traiNNer.build.data import open_sets
from traiNNer.build.defaults import derive
from traiNNer.build.model import BuiltLoss, _silent_step
from traiNNer.build.run import build_parts
from traiNNer.data.loader import TrainLoader
from traiNNer.options import load_options
from traiNNer.registry import ConfigError
from traiNNer.runtime.distributed import DistributedContext

SGD = {"type": "SGD", "lr": 1.0}
ADVERSARIAL = {
    "losses": [{"type": "L1Loss"}, {"type": "GANLoss", "loss_weight": 0.1}],
    "optim_d": {"type": "AdamW", "lr": 1e-3},
}
MUNET = {"type": "munet", "num_feat": 4, "ch_mult": [1, 2]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("step")
    small_run.write_data(folder)
    return folder


def weights(net):
    return [parameter.detach().clone() for parameter in net.parameters()]


class Run:
    """The parts of a run, stepped by hand."""

    def __init__(self, folder, train, **tree):
        file = small_run.write_options(folder, {**small_run.options(folder, scheduler=None, **train), **tree})
        options, alone, device = (
            load_options(file, check=check_parts),
            DistributedContext(),
            torch.device("cpu"),
        )
        options = options.with_derived(derive(options, device, 1))
        images, val_sets = open_sets(options, alone)
        self.parts = build_parts(options, alone, device, images, val_sets)
        self.model, controls = self.parts.model, self.parts.controls
        self._batches = TrainLoader(images, 0).batches(0, controls.batch, controls.lq_size)

    def step(self, number):
        """One update at the configured rate; the generator's weights after it."""
        self.model.networks.set_learning_rates(100.0, 1.0)
        self.model.optimize_parameters(next(self._batches), number, self.parts.controls)
        return weights(self.model.generator.net)


def test_the_ema_follows_its_power_from_the_step_it_is_told(data):
    run = Run(data, {"ema_decay": 0.99, "ema_power": 0.5, "ema_update_after_step": 3})
    for number in range(8):
        before = weights(run.model.ema.net)
        after = run.step(number)
        decay = min(0.99, 1 - (1 + number - 3) ** -0.5) if number >= 3 else 0.0
        for mine, old, new in zip(run.model.ema.net.parameters(), before, after, strict=True):
            torch.testing.assert_close(mine, decay * old + (1 - decay) * new)
            assert not torch.equal(old, new)


def test_the_generator_starts_after_net_d_init_iters(data):
    run = Run(data, {**ADVERSARIAL, "net_d_init_iters": 3}, network_d=MUNET)
    seen = [weights(run.model.generator.net), *(run.step(number) for number in range(5))]
    moved = [
        any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
        for old, new in zip(seen, seen[1:], strict=False)
    ]
    assert moved == [False, False, False, True, True]


@pytest.mark.parametrize("limit", [1e-3, 1e-4])
def test_grad_clip_max_norm_is_the_longest_update_of_plain_descent(data, limit):
    options = {"optim_g": SGD, "grad_clip": True, "grad_clip_max_norm": limit}
    run = Run(data, options)
    before = weights(run.model.generator.net)
    change = [new - old for new, old in zip(run.step(0), before, strict=True)]
    assert torch.cat([part.flatten() for part in change]).norm().item() == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize("used", [True, False])
def test_use_compile_trains_by_what_torch_compile_makes_of_the_network(data, monkeypatch, used):
    modes, calls = [], []

    def compiled(net, mode):
        modes.append(mode)
        return lambda lq: calls.append(len(lq)) or net(lq)

    monkeypatch.setattr(torch, "compile", compiled)
    run = Run(data, {}, use_compile=used, compile_mode="reduce-overhead")
    run.step(0)
    assert (modes, calls) == ((["reduce-overhead"], [4]) if used else ([], []))


@pytest.mark.parametrize(("fast", "precision"), [(True, "high"), (False, "highest")])
def test_fast_matmul_is_said_to_torch(data, fast, precision):
    before, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        options = small_run.options(data, total_iter=1) | {"name": f"fast_{fast}", "fast_matmul": fast}
        assert small_run.train(small_run.write_options(data, options)).returncode == 0
        assert torch.get_float32_matmul_precision() == precision
        assert torch.backends.cudnn.allow_tf32 is fast
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions


def test_loss_scheduling_has_every_loss_measured_each_sixteenth_step(data):
    options = small_run.options(data, total_iter=50, dynamic_loss_scheduling={"enabled": True})
    options |= {"name": "measured", "val": {"val_enabled": False}}
    assert small_run.train(small_run.write_options(data, options)).returncode == 0
    records = (data / "experiments/measured/events.jsonl").read_text().splitlines()
    windows = [json.loads(record) for record in records]
    found = [sorted(gradients_at_output(w)) for w in windows if gradients_at_output(w) is not None]
    both = ["l1", "mssim"]
    assert found == [both, both, [], both, both]  # steps 0, 16, 32 and 48, in windows of ten


def gradients_at_output(record):
    return record.get("event", record).get("gradient_at_output")


@pytest.mark.parametrize("network", ["g", "d"])
def test_strict_load_refuses_weights_that_lack_a_tensor_and_without_it_the_others_are_loaded(
    data, network, caplog
):
    adversarial = {"network_d": MUNET}
    whole = Run(data, ADVERSARIAL, **adversarial).model.networks.learners[network].net.state_dict()
    missing, *others = whole
    file = data / f"lacking_{network}.safetensors"
    save_file({key: torch.full(whole[key].shape, 0.5) for key in others}, file)
    path = {f"pretrain_network_{network}": str(file), f"strict_load_{network}": True}
    with pytest.raises(ConfigError, match=re.escape(missing)):
        Run(data, ADVERSARIAL, path=path, **adversarial)
    path[f"strict_load_{network}"] = False
    loaded = (
        Run(data, ADVERSARIAL, path=path, **adversarial).model.networks.learners[network].net.state_dict()
    )
    assert not torch.all(loaded[missing] == 0.5)
    assert all(torch.all(loaded[key] == 0.5) for key in others)
    said = f"{file}: loaded {len(others)} of {len(whole)} tensors; fresh: {missing}"
    assert [r.levelname for r in caplog.records if r.getMessage() == said] == ["WARNING"]


def test_weights_that_all_fit_are_counted_in_one_line(data, caplog):
    caplog.set_level("INFO")
    whole = Run(data, ADVERSARIAL, network_d=MUNET).model.networks.learners["g"].net.state_dict()
    save_file({key: t.contiguous() for key, t in whole.items()}, file := data / "all.safetensors")
    Run(data, ADVERSARIAL, path={"pretrain_network_g": str(file)}, network_d=MUNET)
    said = f"{file}: loaded {len(whole)} of {len(whole)} tensors"
    assert [r.levelname for r in caplog.records if r.getMessage() == said] == ["INFO"]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_is_a_mean_and_a_sum_is_refused_with_what_to_do(reduction):
    train = {"total_iter": 1, "losses": [{"type": "L1Loss", "reduction": reduction}]}
    tree = {"scale": 2, "network_g": {"type": "compact"}, "datasets": {"train": {}}, "train": train}
    said = [(problem.path, problem.message) for problem in check_parts(tree)]
    assert [path for path, _ in said] == [("train", "losses", 0, "reduction")] * (reduction == "sum")
    assert all("every loss here is a mean" in message and "got sum" in message for _, message in said)


@pytest.mark.parametrize(
    ("plans", "step"),
    [
        ([{"disable_after": 9}, {"start_iter": 11}], 10),
        ([{"disable_after": 9}, {"start_iter": 10}], None),
        ([{"target_iter": 20, "target_weight": 0.0}], 20),
        ([{"target_iter": 20, "target_weight": 0.0, "schedule_type": "step"}, {"disable_after": 30}], 31),
        ([{"disable_after": 49}], None),
        ([{"start_iter": 5}], 0),
    ],
)
def test_a_step_without_any_loss_is_found_before_the_run(plans, step):
    losses = {str(k): BuiltLoss(torch.nn.Identity(), 1.0, LossSchedule(**p)) for k, p in enumerate(plans)}
    weights = ([loss.weighted().weight_at(at) for loss in losses.values()] for at in range(50))
    assert next((at for at, row in enumerate(weights) if not any(row)), None) == step
    assert _silent_step(losses, total_iter=50) == step
