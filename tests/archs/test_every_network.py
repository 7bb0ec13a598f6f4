"""What holds for every network of the registry, so that a new file is covered on arrival."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from small_networks import (
    ALL,
    BARE,
    DISCRIMINATORS,
    GENERATORS,
    RUN,
    assert_close,
    bare,
    build,
    noise,
    run,
    spec_of,
)
from torch.utils._python_dispatch import TorchDispatchMode

from traiNNer.archs import build_network, load_network
from traiNNer.archs.detectors import DETECTORS
from traiNNer.archs.fuse import fuse
from traiNNer.registry import ConfigError

FIXED_FILTERS = ("sharpen", "resample_conv", "sharp", "blur")
"""Modules whose weights are set by a formula and never learned."""
DERIVED = ("eval_conv", "conv_3x3_rep", "conv5x5_reparam")
"""Modules whose weights are computed from others."""

PARTS = {name: frozenset(type(module) for module in net.modules()) for name, net in BARE.items()}
"""The classes of module that each network has."""
KINDS = [
    name
    for name in GENERATORS
    if not any(
        PARTS[name] < PARTS[other] or (PARTS[name] == PARTS[other] and other < name) for other in GENERATORS
    )
]
"""One name for each set of parts that is no part of another's."""

every = pytest.mark.parametrize("name", ALL)
every_small = pytest.mark.parametrize("name", RUN)
every_generator = pytest.mark.parametrize("name", GENERATORS)
every_discriminator = pytest.mark.parametrize("name", DISCRIMINATORS)


def _image(net, height=17, width=23, n=1):
    least = net.facts.min_size
    return noise(n, 3, max(height, least), max(width, least))


@every
def test_all_its_parts_are_run_by_some_small_instance(name):
    missing = PARTS[name] - frozenset.union(*(PARTS[small] for small in RUN))
    assert not missing, f"give {name} options in small_networks.SMALL that have these"


@pytest.mark.parametrize("name", [name for name in ALL if BARE[name].facts.kind == "generator"])
def test_output_size_is_scale_times_input_size(name):
    spec = spec_of(name)
    wanted = [{**spec, "scale": scale} for scale in (2, 3, 4)] if "scale" in spec else [spec]
    for variant in wanted if name in RUN else wanted[:1]:
        net, scale = bare(variant).eval(), variant.get("scale", 1)
        image = _image(net).to(next(net.parameters()).device)
        height, width = image.shape[2:]
        assert net.facts.scale == scale
        assert net(image).shape == (1, 3, height * scale, width * scale)


@every_discriminator
@torch.no_grad()
def test_a_discriminator_judges_by_maps_in_order_and_logits_of_one_channel_each(name):
    net = build(name).eval()
    image = _image(net, n=2)
    maps = net.forward_features(image)
    logits = [tap for key, tap in maps.items() if key.startswith("logits")]
    assert next(reversed(maps)).startswith("logits")
    assert all(tap.shape[:2] == (2, 1) for tap in logits)
    assert all(tap.ndim == 4 for key, tap in maps.items() if not key.startswith("logits"))
    assert torch.equal(torch.cat([tap.flatten(1) for tap in logits], dim=1), run(net, image).flatten(1))


def _is_sampling_derived_twice():
    """Not in torch 2.11 and older, where such a discriminator is refused before the first step."""
    places = torch.zeros(1, 2, 2, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(
        F.grid_sample(torch.ones(1, 1, 2, 2), places, align_corners=False).sum(), places, create_graph=True
    )
    try:
        slope.sum().backward()
    except RuntimeError:
        return False
    return True


@every_discriminator
@pytest.mark.parametrize("contrast", [0.0, 1.0])
def test_a_gradient_penalty_is_finite_on_flat_images_too_and_moves_the_weights(name, contrast):
    if name == "dunet" and not _is_sampling_derived_twice():
        pytest.skip("this torch has no second derivative of grid_sample")
    net = build(name).train()
    image = (contrast * _image(net, n=2)).requires_grad_()
    (slope,) = torch.autograd.grad(run(net, image).sum(), image, create_graph=True)
    slope.square().sum().backward()
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@every
def test_its_options_rebuild_it_after_a_trip_through_json(name):
    net = BARE[name]
    options = json.loads(json.dumps(net.options))
    again = bare({"type": name, **options})
    assert {k: (v.shape, v.dtype) for k, v in net.state_dict().items()} == {
        k: (v.shape, v.dtype) for k, v in again.state_dict().items()
    }
    assert json.loads(json.dumps(again.options)) == options
    assert again.facts == net.facts
    assert spec_of(name).keys() - {"type"} <= options.keys()


@every
def test_an_unknown_option_is_refused_by_name(name):
    with pytest.raises(ConfigError, match="num_feets"):
        build_network({**spec_of(name), "num_feets": 3})


@every
def test_only_fixed_filters_and_derived_weights_are_frozen(name):
    for key, parameter in BARE[name].named_parameters():
        assert parameter.requires_grad or {*FIXED_FILTERS, *DERIVED} & set(key.split(".")), key


@every_small
@torch.no_grad()
def test_odd_sizes_and_sizes_below_a_window_give_finite_output(name):
    net = build(name).eval()
    for height, width in ((17, 23), (1, 1), (5, 3), (16, 9)):
        image = _image(net, height, width)
        out = run(net, image)
        if net.facts.kind == "generator":
            assert out.shape[-2:] == tuple(side * net.facts.scale for side in image.shape[-2:])
        assert out.isfinite().all()


@every_small
@torch.no_grad()
def test_a_batch_of_two_equals_two_batches_of_one(name):
    net = build(name).eval()
    images = torch.cat([_image(net), _image(net).flip(3) * 0.3])
    assert_close(run(net, images), torch.cat([run(net, image[None]) for image in images]))


@every_small
def test_every_learned_parameter_gets_a_finite_gradient(name):
    net = build(name).train()
    run(net, _image(net, n=2)).square().mean().backward()
    for key, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.any(), key


@every_small
@torch.no_grad()
def test_weights_survive_safetensors_bit_for_bit_and_metadata_rebuilds_the_network(name, tmp_path):
    net = build(name).eval()
    metadata = {"architecture": name, "options": json.dumps(net.options)}
    save_file(net.state_dict(), tmp_path / "net.safetensors", metadata)
    image = _image(net)
    assert torch.equal(run(load_network(tmp_path / "net.safetensors"), image), run(net, image))


@every_small
@torch.no_grad()
def test_names_and_shapes_tell_all_but_what_is_asked_for(name, tmp_path):
    net = build(name).eval()
    weights = net.state_dict()
    save_file(weights, tmp_path / "net.safetensors")
    (detector,) = [detector for detector in DETECTORS if detector.applies(weights)]
    guess = detector.infer(weights)
    overrides = {option: net.options[option] for option in (*guess.asks, *guess.assumed)}
    image = _image(net)
    assert torch.equal(run(load_network(tmp_path / "net.safetensors", **overrides), image), run(net, image))
    if guess.asks:
        with pytest.raises(ConfigError, match=guess.asks[0]):
            load_network(tmp_path / "net.safetensors")


@every_small
@torch.no_grad()
def test_channels_last_changes_nothing(name):
    net = build(name).eval()
    image = _image(net, n=2)
    expected = run(net, image)
    net.to(memory_format=torch.channels_last)
    out = run(net, image.contiguous(memory_format=torch.channels_last))
    assert_close(out, expected)


@every_small
@torch.no_grad()
def test_bfloat16_is_finite_and_near(name):
    net = build(name).eval()
    image = _image(net)
    expected = run(net, image)
    out = run(net.bfloat16(), image.bfloat16())
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()
    assert_close(out.float(), expected, 0.1)


@every_small
@torch.no_grad()
def test_a_deep_copy_computes_the_same_and_shares_nothing(name):
    net = build(name).eval()
    twin = copy.deepcopy(net)
    image = _image(net)
    expected = run(net, image)
    assert torch.equal(run(twin, image), expected)
    for parameter in twin.parameters():
        parameter.zero_()
    assert torch.equal(run(net, image), expected)


@every_small
@torch.no_grad()
def test_the_forward_pass_changes_neither_its_input_nor_its_weights(name):
    net = build(name).eval()
    image = _image(net)
    before = copy.deepcopy(net.state_dict())
    given = image.clone()
    net(given)
    assert torch.equal(given, image)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@every_generator
@torch.no_grad()
def test_a_tile_with_the_stated_margin_equals_the_whole_image(name):
    net = build(name).eval()
    margin, step, scale = net.facts.tile_margin, net.facts.multiple_of, net.facts.scale
    if margin is None:
        # the statement is that no margin is enough: the far end moves the near end
        image = _image(net, 8, 96)
        far = image.clone()
        far[..., -8:] = 1 - far[..., -8:]
        assert not torch.equal(net(image)[..., :8], net(far)[..., :8])
        return
    left, kept = 3 * step, 4 * step  # a tile that touches neither end
    wide = noise(1, 3, 3 * step, left + margin + kept + margin + left)
    for axis, image in ((3, wide), (2, wide.transpose(2, 3).contiguous())):
        tile = net(image.narrow(axis, left, margin + kept + margin))
        assert_close(
            tile.narrow(axis, margin * scale, kept * scale),
            net(image).narrow(axis, (left + margin) * scale, kept * scale),
        )


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "training", [pytest.param(False, marks=pytest.mark.slow), True], ids=["eval", "train"]
)
def test_one_graph_holds_the_forward_pass_at_any_size(name, training):
    torch._dynamo.reset()
    net = build(name).train(training)
    compiled = torch.compile(copy.deepcopy(net), fullgraph=True, backend="eager", dynamic=True)
    # both with odd sides: networks that halve an image would be traced anew for even ones
    for image in (_image(net, n=2), _image(net, 25, 33, n=3)):
        assert_close(compiled(image), net(image))


@every_generator
@torch.no_grad()
def test_fusing_changes_the_output_by_no_more_than_rounding_and_leaves_the_original_alone(name):
    net = build(name).train()
    fused = fuse(net)
    before = build(name).state_dict()
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    image = _image(net, n=2)
    assert_close(fused(image), net.eval()(image))
    assert _operations(fused, image) <= _operations(net, image)


def _operations(net, image):
    """How many of torch's operations one forward pass takes."""
    counter = _Counter()
    with counter:
        net(image)
    return counter.calls


class _Counter(TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


@every_small
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_autocast_rounds_the_output_a_little_and_every_gradient_is_finite(name, dtype):
    net = build(name).train()
    x = _image(net, 32, 32)
    exact = run(net, x).detach()
    with torch.autocast("cpu", dtype):
        rounded = run(net, x)
    assert (rounded.float() - exact).abs().max() < 0.04 * exact.abs().max()
    rounded.float().square().mean().backward()
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", ["paragonsr2_nano", "paragonsr2_realtime", "paragonsr2_stream"])
def test_autocast_leaves_the_fixed_enlargement_exact(name):
    net = build(name)
    for parameter in net.conv_out.parameters():
        torch.nn.init.zeros_(parameter)
    x = _image(net)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(x), run(net, x))
