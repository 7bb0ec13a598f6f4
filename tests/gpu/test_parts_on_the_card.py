"""Losses, metrics, resizing of batches and exported networks compute on the card what they do on the CPU."""

import copy

import pytest
import torch
from archs.small_networks import build, noise
from gpu.on_device import CONTROLS, assert_near, model_on, pixels
from losses.test_losses import SPECS, at_least

from traiNNer.archs import build_network
from traiNNer.losses import LOSSES, LossInputs
from traiNNer.losses.adversarial import discriminator_output
from traiNNer.metrics import METRICS
from traiNNer.models.precision import Precision
from traiNNer.optim.ema import Ema

every_loss = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "-".join(map(str, spec.values())))
UNTRAINED = {"pretrained": False}
EVERY_METRIC = [
    {"type": name, "crop_border": 2, **(UNTRAINED if "pretrained" in METRICS.parameters(name) else {})}
    for name in METRICS.names()
]


# --- losses ------------------------------------------------------------------------------------------------


def loss_on(device, spec, dtype=torch.float32):
    """Value and gradient by the output of a loss, drawn alike on every device."""
    torch.manual_seed(2)
    loss = LOSSES.build(spec)
    judge = build_network({"type": "unetdiscriminatorsn", "num_feat": 4}).eval()
    for parameter in judge.parameters():
        parameter.requires_grad_(False)
    side = max(at_least(spec, 32, 32))
    gt, lq = noise(2, 3, side, side, seed=1), noise(2, 3, -(-side // 2), -(-side // 2), seed=3)
    contrast = 1.0 if spec["type"] == "ContextualLoss" else 0.1  # is flat near its minimum
    output = (gt + contrast * (noise(2, 3, side, side, seed=2) - 0.5)).to(device, dtype).requires_grad_()
    loss, judge = loss.to(device, dtype), judge.to(device, dtype)
    inputs = LossInputs(
        output=output,
        gt=gt.to(device, dtype),
        lq=lq.to(device, dtype),
        discriminator=lambda images: discriminator_output(judge, images),
        ema=lambda: gt.to(device, dtype) * 0.9,
    )
    torch.manual_seed(4)  # losses that draw projections
    value = loss(inputs)
    value.backward()
    return value, output.grad


@every_loss
def test_a_loss_and_its_gradient_are_those_of_the_cpu(spec, device):
    if "SWD" in spec["type"]:
        pytest.skip("draws its projections on the device: each kind of device draws others")
    value, gradient = loss_on(device, spec)
    expected, expected_gradient = loss_on(torch.device("cpu"), spec)
    assert_near(value, expected, 1e-4, floor=1e-2)
    # where two values are nearly equal, the choice between them (a maximum, a sign) is that of rounding
    error = (gradient.cpu() - expected_gradient).norm() / expected_gradient.norm()
    assert error < 0.02


@every_loss
def test_a_loss_has_a_deterministic_gradient(spec, card):
    torch.use_deterministic_algorithms(True)
    (one, first), (other, second) = loss_on(card, spec), loss_on(card, spec)
    assert torch.equal(one, other) and torch.equal(first, second)


# --- metrics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", EVERY_METRIC, ids=lambda spec: spec["type"])
def test_a_metric_scores_as_on_the_cpu(spec, device):
    torch.manual_seed(0)
    metric = METRICS.build(spec)
    side = 300  # two blocks of NIQE each way
    gt = torch.nn.functional.interpolate(noise(2, 3, 60, 60), (side, side), mode="bicubic").clamp(0, 1)
    sr = (gt + 0.05 * (noise(2, 3, side, side, seed=2) - 0.5)).clamp(0, 1)
    expected, ours = metric(sr, gt), metric(sr.to(device), gt.to(device))
    assert ours.device.type == device.type
    assert_near(ours, expected, 1e-5 if "pretrained" not in spec else 1e-3)


# --- batches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16], ids=str)
def test_pixels_become_the_same_numbers_pinned_or_not(dtype, channels_last, device):
    batch = pixels(4, 33, dtype=dtype).lq
    expected = Precision(torch.device("cpu")).images(batch)
    precision = Precision(device, channels_last=channels_last)
    sources = [batch, batch.pin_memory()] if device.type == "cuda" else [batch]
    for source in sources:
        images = precision.images(source)
        assert images.is_contiguous(
            memory_format=torch.channels_last if channels_last else torch.contiguous_format
        )
        assert_near(images, expected, 1e-7)


def test_transfers_from_pinned_memory_train_as_pageable_ones(card):
    """The batch of a step is written over as soon as the step was asked for, as a loader may do."""
    torch.use_deterministic_algorithms(True)

    def losses(pinned):
        model = model_on(card)
        for step in range(10):
            batch = pixels(seed=step)
            if pinned:
                batch = type(batch)(*(images.pin_memory() for images in batch[:2]))
            model.networks.set_learning_rates(step, 1.0)
            model.optimize_parameters(batch, step, CONTROLS)
            del batch  # the caching allocator of pinned memory must wait for the copy
        return model.read_metrics().total

    assert losses(pinned=True) == losses(pinned=False)


# --- average and export ------------------------------------------------------------------------------------


def test_the_average_follows_the_weights_as_on_the_cpu(device):
    def averaged(where):
        net = build("span").to(where)
        ema = Ema(net, 0.9)
        one = torch.ones((), device=where)
        for step in range(5):
            with torch.no_grad():
                for number, parameter in enumerate(net.parameters()):
                    parameter.add_(0.01 * (number % 3 - 1))
            ema.update(step, one)
        return torch.cat([value.flatten().cpu() for value in ema.state_dict().values()])

    assert_near(averaged(device), averaged(torch.device("cpu")), 1e-5)


@pytest.mark.parametrize("name", ["compact", "span"])
@torch.no_grad()
def test_the_exported_network_runs_on_cuda_too(name, card, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime has no CUDAExecutionProvider here: pip install onnxruntime-gpu")
    net = build(name).eval()
    image = noise(1, 3, 24, 20)
    program = torch.onnx.export(net, (image,), dynamo=True, input_names=["lq"], output_names=["sr"])
    program.save(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CUDAExecutionProvider"])
    (out,) = session.run(None, {"lq": image.numpy()})
    assert_near(torch.from_numpy(out), copy.deepcopy(net).to(card)(image.to(card)), 1e-3)
