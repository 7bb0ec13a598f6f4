"""Memory that runs out on the card: in a step, in the first update, in validation and in upscaling."""

import copy
import json
from dataclasses import replace

import pytest
import small_run
import torch
from gpu.on_device import CONTROLS, assert_near, limited_memory, model_on, pixels, weights_of
from tiny import Waves, assert_same
from torch import nn
from training.automation_runs import decisions, trainer_of

from traiNNer.archs import NetworkFacts
from traiNNer.control import Controls
from traiNNer.inference.network import EvalNetwork
from traiNNer.inference.tiles import Tiles
from traiNNer.inference.upscale import ImageUpscaler
from traiNNer.metrics import METRICS
from traiNNer.models.sr_model import BatchTooLarge
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.memory import free_memory, memory_source
from traiNNer.runtime.signals import StopSignal
from traiNNer.training.validation import ValidationSet, Validator

MIB = 2**20


class Wide(nn.Module):
    """A network whose activations are large: 8 MiB for a sample of 32 x 32 pixels, twice."""

    def __init__(self, channels=2048):
        super().__init__()
        torch.manual_seed(0)
        self.facts = NetworkFacts("generator", scale=2, tile_margin=1)
        self.first, self.last = nn.Conv2d(3, channels, 3, padding=1), nn.Conv2d(channels, 12, 1)

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.last(self.first(x).relu()), 2)


class Heavy(nn.Module):
    """A network whose weights are large: 256 MiB on a card."""

    def __init__(self, channels):
        super().__init__()
        torch.manual_seed(0)
        self.facts = NetworkFacts("generator", scale=2, tile_margin=1)
        self.first, self.middle = nn.Conv2d(3, channels, 1), nn.Conv2d(channels, channels, 1)
        self.last = nn.Conv2d(channels, 12, 1)

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.last(self.middle(self.first(x))), 2)


def trainer_on(device, root, net, controls, steps, **options):
    """A run over a network on the device, with its validation there too."""
    model = model_on(device, net, **options)
    trainer = trainer_of(root, model=model, controls=controls, steps=steps)
    validator = Validator(
        [ValidationSet("waves", Waves())],
        {"psnr": METRICS.build({"type": "psnr", "crop_border": 2})},
        scale=2,
        precision=model.precision,
        processes=DistributedContext(),
    )
    trainer.parts = replace(trainer.parts, validator=validator)
    return trainer


def warm_up(device):
    """What CUDA's libraries take for themselves at their first use is not what is tested."""
    model_on(device, Wide(64)).optimize_parameters(pixels(2, 32), 0, Controls(2, 2, 32))


# --- a step ------------------------------------------------------------------------------------------------


def test_a_run_goes_on_in_smaller_micro_batches_where_memory_runs_out(device, tmp_path):
    """8 samples take about 4 x 64 MiB."""
    warm_up(device)
    optimizer = {
        "type": "SGD",
        "lr": 1e-3,
    }  # its steps follow the gradient, whose rounding depends on the split

    def run(root, micro_batch, mib):
        controls = Controls(batch=8, micro_batch=micro_batch, lq_size=32)
        trainer = trainer_on(device, root, Wide(), controls, 8, optimizer=optimizer)
        with limited_memory(device, mib):
            outcome = trainer.fit(StopSignal())
        return trainer, outcome

    limited, outcome = run(tmp_path / "limited", 8, 150)
    assert outcome.status == "completed"
    assert limited.controls.micro_batch in (1, 2, 4)
    answers = decisions(tmp_path / "limited")
    assert [answer["new"] for answer in answers] == [4, 2, 1][: len(answers)]
    free, _ = run(tmp_path / "free", limited.controls.micro_batch, 4096)
    assert_near(weights_of(limited.model), weights_of(free.model), 1e-5)


def test_a_step_that_does_not_fit_changes_nothing(device):
    warm_up(device)
    model = model_on(device, Wide())
    before = copy.deepcopy(model.state_dict())
    with limited_memory(device, 60), pytest.raises(BatchTooLarge):
        model.optimize_parameters(pixels(8, 32), 0, Controls(8, 8, 32))
    assert_same(before, model.state_dict())
    assert not model.generator.gradients()
    model.optimize_parameters(pixels(8, 32), 0, Controls(8, 8, 32))
    assert model.read_metrics().applied["g"] == [True]


# --- the first update --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AdamW", "NAdam", "SGD"])
@pytest.mark.parametrize("weights", [1.5, 3.5], ids=["for-nothing", "for-the-copies"])
def test_a_first_update_without_memory_for_its_state_changes_nothing(name, weights, device, monkeypatch):
    """In units of the weights: the gradient takes one, copies to undo the update two, moments one or two."""
    warm_up(device)
    channels = 8192 if device.type == "cuda" else 2048
    settings = {"type": name, "lr": 1e-3, **({"momentum": 0.9} if name == "SGD" else {})}
    model, reference = (model_on(device, Heavy(channels), optimizer=settings) for _ in range(2))
    before = weights_of(model)
    small, controls = pixels(2, 8), Controls(2, 2, 8)
    reached = []
    update = model._undo_if_out_of_memory
    monkeypatch.setattr(
        model, "_undo_if_out_of_memory", lambda *given: (reached.append(1), update(*given))[1]
    )
    with limited_memory(device, int(weights * 4 * channels**2 / MIB)), pytest.raises(BatchTooLarge):
        model.optimize_parameters(small, 0, controls)
    assert reached
    assert torch.equal(weights_of(model), before)
    assert not model.generator.optimizer.state
    assert not model.generator.gradients()
    for each in (model, reference):
        each.optimize_parameters(small, 0, controls)
    assert_near(weights_of(model), weights_of(reference), 1e-6)
    assert model.read_metrics().applied["g"] == [True]


# --- images ------------------------------------------------------------------------------------------------


def release(device, channels=2048):
    net = Wide(channels).to(device).eval()
    return EvalNetwork(net, net.facts)


def test_images_that_do_not_fit_are_taken_in_tiles_with_the_same_result(device, caplog):
    warm_up(device)
    model, lq = release(device), torch.rand(1, 3, 150, 170).to(device)  # 200 MiB of activations, twice
    whole = (
        Tiles(0, 32).upscale(model, lq).cpu()
    )  # where it lay, the allocator would keep a segment of 200 MiB
    with limited_memory(device, 250):
        cut = Tiles(0, 32).upscale(model, lq)
    assert any("images are taken in tiles of" in record.getMessage() for record in caplog.records)
    assert_near(cut, whole, 1e-5)


def test_upscaling_finds_tiles_that_fit_into_a_limit_of_memory(device, caplog):
    """On a card before memory runs out; the limit that stands for it on the CPU is met by halving."""
    warm_up(device)
    pixels_of_image = (torch.rand(140, 160, 3) * 255).to(torch.uint8).numpy()
    net = Wide().eval()
    expected = ImageUpscaler(copy.deepcopy(net), net.facts, device=device, tile=0).pixels(pixels_of_image)
    upscaler = ImageUpscaler(net, net.facts, device=device)
    with limited_memory(device, 250):
        ours = upscaler.pixels(pixels_of_image)
    assert ("out of memory" in caplog.text) == (device.type == "cpu")
    assert abs(ours.astype(int) - expected.astype(int)).max() <= 1
    assert free_memory(device) > 0


def test_a_run_goes_on_where_its_validation_does_not_fit(device, tmp_path, caplog):
    warm_up(device)
    # an image of 20 x 20 pixels takes 2 x 200 MiB, a sample of 8 x 8 3 x 32 MiB
    trainer = trainer_on(device, tmp_path, Wide(131072), Controls(batch=4, micro_batch=1, lq_size=8), 10)
    with limited_memory(device, 300):
        outcome = trainer.fit(StopSignal())
    assert outcome.status == "completed"
    assert any("images are taken in tiles of" in record.getMessage() for record in caplog.records)


# --- how much memory there is ------------------------------------------------------------------------------


def test_the_memory_source_sees_what_a_step_took(card):
    source = memory_source(card)
    source.restart()
    before = source.peak()
    taken = torch.empty(2048 * MIB, dtype=torch.uint8, device=card)
    del taken
    share = 2048 * MIB / (free_memory(card) + torch.cuda.memory_allocated(card))
    assert source.peak() - before == pytest.approx(share, rel=0.1)
    source.restart()
    assert source.peak() < before + 0.1 * share


def test_the_memory_source_agrees_with_the_driver(card):
    pynvml = pytest.importorskip("pynvml")
    try:
        pynvml.nvmlInit()
        identity = torch.cuda.get_device_properties(card).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{identity}")
        used = lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).used  # noqa: E731
        before = used()
    except pynvml.NVMLError as error:
        pytest.skip(f"NVML does not answer here: {error}")
    source, free = memory_source(card), free_memory(card)
    source.restart()
    before = used()
    taken = torch.empty(4096 * MIB, dtype=torch.uint8, device=card)
    grown = used() - before
    assert grown == pytest.approx(4096 * MIB, rel=0.05)
    assert free - free_memory(card) == pytest.approx(4096 * MIB, rel=0.05)
    total = torch.cuda.get_device_properties(card).total_memory
    assert source.peak() == pytest.approx(torch.cuda.memory_reserved(card) / total, abs=0.05)
    del taken


# --- the automatic batch -----------------------------------------------------------------------------------


def automatic(folder, device, *, lq_size=16, **automation):
    options = small_run.options(folder)
    options["datasets"]["train"]["lq_size"] = lq_size
    options["num_gpu"] = int(device.type == "cuda")
    del options["datasets"]["train"]["batch_size_per_gpu"]
    options["network_g"] = {"type": "compact", "num_feat": 64, "num_conv": 4}
    options["train"]["total_iter"] = 3
    options["val"] = {"val_enabled": False}
    options["train"]["training_automations"] = {
        "enabled": True,
        "DynamicBatchSizeOptimizer": {"enabled": True, **automation},
    }
    return small_run.write_options(folder, options)


def batch_of(folder):
    root = folder / "experiments/small"
    log = (root / "train_small.log").read_text()
    (line,) = [line for line in log.splitlines() if "batch_size_per_gpu: auto" in line]
    return int(line.split("auto: ")[1].split(",")[0]), json.loads((root / "summary.json").read_text()), log


def test_an_automatic_batch_trains_without_running_out(device, tmp_path):
    small_run.write_data(tmp_path)
    file = automatic(tmp_path, device, max_batch_size=12)
    printed = small_run.train(file)
    assert printed.returncode == 0, printed.stdout + printed.stderr
    batch, summary, log = batch_of(tmp_path)
    assert (batch, summary["samples"]) == (12, 36)
    assert "out of memory" not in log


def test_an_automatic_batch_is_what_a_limit_leaves(card, tmp_path):
    """A sample takes about 7 MiB: 64 do not fit, 8 do."""
    warm_up(card)
    small_run.write_data(tmp_path)
    file = automatic(tmp_path, card, lq_size=48)
    with limited_memory(card, 240):
        printed = small_run.train(file)
    assert printed.returncode == 0, printed.stdout + printed.stderr
    batch, summary, log = batch_of(tmp_path)
    assert 4 <= batch < 64
    assert summary["samples"] == 3 * batch
    assert "micro" not in log


def test_steps_on_the_card_leave_no_memory_behind(device):
    model = model_on(device)
    sizes = []
    for step in range(6):
        model.optimize_parameters(pixels(), step, CONTROLS)
        if device.type == "cuda":
            sizes.append(torch.cuda.memory_allocated(device))
    model.read_metrics()
    assert len(set(sizes[2:])) <= 1
