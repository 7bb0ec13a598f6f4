"""Every network computes on the card what it computes on the CPU."""

import copy

import pytest
import torch
from archs.small_networks import GENERATORS, RUN, build, noise, run
from gpu.on_device import assert_near, difference

from traiNNer.archs.dysample import DySample

every_small = pytest.mark.parametrize("name", RUN)
every_generator = pytest.mark.parametrize("name", GENERATORS)

LOW = {torch.bfloat16: (0.06, 0.98), torch.float16: (0.01, 0.999)}
"""Relative L2 error of the output, and cosine of the gradient, that rounding to that type may cost."""
LOSS_SCALE = 256.0  # of fp16, so that gradients of small losses do not vanish


def image_for(net, n=2):
    least = max(32, net.facts.min_size)
    return noise(n, 3, least, least)


def forward_and_backward(net, image, scale=1.0):
    """Output, gradient by the image, gradients by the weights."""
    image = image.detach().clone().requires_grad_()
    net.zero_grad()
    out = run(net, image)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=out.device).view(out.shape)
    (out * weights).mean().mul(scale).backward()
    gradients = {key: p.grad / scale for key, p in net.named_parameters() if p.grad is not None}
    return out, image.grad / scale, gradients


def reference(name):
    """A network in float64 on the CPU, an image, and what `forward_and_backward` makes of them."""
    net = build(name).train()
    image = image_for(net)
    return net, image, forward_and_backward(copy.deepcopy(net).double(), image.double())


def assert_gradients_near(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    largest = max(gradient.abs().max().item() for gradient in theirs.values())
    for key, gradient in theirs.items():
        error = (ours[key].double().cpu() - gradient.double()).abs().max().item()
        size = gradient.abs().max().item()
        assert error <= tolerance * size + tolerance / 100 * largest, f"{key}: {error:.3g} of {size:.3g}"


@every_small
def test_outputs_and_gradients_in_float32_are_those_of_float64_on_the_cpu(name, device):
    net, image, (out, by_image, gradients) = reference(name)
    ours = forward_and_backward(net.to(device), image.to(device))
    assert_near(ours[0], out, 1e-4)
    assert_near(ours[1], by_image, 1e-3, floor=0.0)
    assert_gradients_near(ours[2], gradients, 2e-3)


@pytest.mark.parametrize("dtype", LOW, ids=["bf16", "fp16"])
@every_small
def test_autocast_costs_rounding_alone(name, dtype, device):
    net, image, (out, _, gradients) = reference(name)
    net, image = net.to(device), image.to(device).requires_grad_()
    scale = LOSS_SCALE if dtype == torch.float16 else 1.0
    with torch.autocast(device.type, dtype):
        rounded = run(net, image)
    weights = torch.linspace(-1, 1, out.numel(), device=device).view(out.shape)
    (rounded.float() * weights).mean().mul(scale).backward()
    ours = {key: p.grad for key, p in net.named_parameters() if p.grad is not None}
    assert ours.keys() == gradients.keys()
    both = [torch.cat([g.double().cpu().flatten() for g in each.values()]) for each in (ours, gradients)]
    error, alike = LOW[dtype]
    assert difference(rounded, out) < error
    assert torch.cosine_similarity(*both, dim=0) > alike


@every_small
def test_channels_last_changes_rounding_alone(name, device):
    net, image, (out, by_image, gradients) = reference(name)
    net = net.to(device).to(memory_format=torch.channels_last)
    ours = forward_and_backward(net, image.to(device).contiguous(memory_format=torch.channels_last))
    assert_near(ours[0], out, 1e-4)
    tolerance = 0.3 if name == "patchgan" else 1e-3  # gradients of 1e-3 through instance norms: 0.21 seen
    assert_near(ours[1], by_image, tolerance, floor=0.0)
    assert_gradients_near(ours[2], gradients, 2e-3)


@every_small
def test_deterministic_algorithms_exist_and_give_the_same_bits_twice(name, device):
    net = build(name).train().to(device)
    if any(isinstance(module, DySample) for module in net.modules()):
        pytest.skip("samples at learned places (DySample), for which CUDA has no deterministic gradient")
    image = image_for(net).to(device)
    torch.use_deterministic_algorithms(True)
    first, second = (forward_and_backward(copy.deepcopy(net), image) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert all(torch.equal(gradient, second[2][key]) for key, gradient in first[2].items())


@every_generator
@torch.no_grad()
def test_half_precision_networks_upscale_close_to_float32(name, device):
    net = build(name).eval()
    image = noise(1, 3, 24, 20)
    expected = net(image)
    for dtype, limit in ((torch.bfloat16, 0.08), (torch.float16, 0.015)):
        out = copy.deepcopy(net).to(device, dtype)(image.to(device, dtype))
        assert out.dtype == dtype
        assert difference(out, expected) < limit
