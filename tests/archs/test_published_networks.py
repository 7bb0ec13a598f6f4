"""What holds for every network of another author: spandrel's function and values, trained as our own are."""

import copy
import importlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from published_networks import NAMES, build, image, spec_of
from safetensors.torch import save_file
from small_networks import assert_close, noise
from spandrel import ModelLoader
from tiny import Waves, assert_same, make_model

from traiNNer.archs import NETWORKS, build_network, load_network
from traiNNer.archs.padding import allowed_size, mirrored
from traiNNer.archs.published import FAMILIES, PUBLISHED
from traiNNer.control import Controls
from traiNNer.data.loader import TrainLoader
from traiNNer.inference.upscale import ImageUpscaler
from traiNNer.models.precision import Precision
from traiNNer.registry import ConfigError

# torch says so of the layer normalisation in NAFNet and OmniSR, which spandrel has as the authors wrote it
pytestmark = pytest.mark.filterwarnings("ignore:'saved_variables' is deprecated", "ignore:torch.meshgrid")

every = pytest.mark.parametrize("name", NAMES)
LARGE = {"fbcnn", "scunet", "uformer", "realcugan"}
"""Families whose smallest instance takes seconds."""
RANDOM = {"dat", "drct", "fdat", "grl", "hat", "rgt", "swin2sr", "swinir", "uformer"}
"""Families that skip blocks at random while they are trained."""
GUESSED_THERE = {"grl"}
"""Families whose windows spandrel guesses as those of the published files."""
MORE_CHANNELS = {"drunet"}
"""Families whose published files take the noise as a fourth channel, which spandrel adds."""
APART = {"craft": 0.3, "dctlsa": 0.3, "hat": 0.3, "kbnet_s": 0.3, "nafnet": 0.3}
"""Families for which a tile of a random image differs more from the whole, and by how much on average."""


def foreign(name):
    """spandrel's own module of a small network, with the initial values that the seed gives."""
    family, spec = FAMILIES[name], spec_of(name)
    options = {**family.options, **{key: value for key, value in spec.items() if key != "type"}}
    arguments = family.foreign(options)
    kind = arguments.pop("network", family.network or family.architecture)
    scale = arguments.pop("scale")
    if family.factor:
        arguments[family.factor] = scale
    arguments = {key: list(v) if isinstance(v, tuple) else v for key, v in arguments.items()}
    torch.manual_seed(5)
    return getattr(importlib.import_module(f"spandrel.architectures.{family.architecture}"), kind)(
        **arguments
    )


def first(output):
    return output[0] if isinstance(output, tuple) else output


def whole(net, lq):
    """The image mirrored to a size that the network takes as it is."""
    facts = net.facts
    sides = [allowed_size(side, least=facts.min_size, multiple=facts.multiple_of) for side in lq.shape[-2:]]
    return mirrored(lq, *([max(sides)] * 2 if net.square else sides))


@every
@torch.no_grad()
def test_a_seed_gives_the_initial_values_and_the_function_of_spandrels_module(name):
    theirs = foreign(name)
    torch.manual_seed(5)
    ours = build_network(spec_of(name))
    assert_same(ours.state_dict(), theirs.state_dict())
    lq = whole(ours, image(ours))
    assert torch.equal(ours.eval()(lq), first(theirs.eval()(lq.clone())))


@every
def test_every_parameter_gets_a_finite_gradient_but_those_that_are_idle_by_design(name):
    net, idle = build(name).train(), FAMILIES[name].idle
    for module in net.modules():
        if type(module).__name__ == "DropPath":
            module.eval()  # a block whose path is dropped has no gradient in this step
    lq = image(net, n=2)
    given = lq.clone()
    net(lq).square().mean().backward()
    assert torch.equal(lq, given)
    without = {key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    assert {key for key in without if not (idle and re.search(idle, key))} == set()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    assert bool(without) == bool(idle)


@every
@torch.no_grad()
def test_any_size_gives_a_finite_image_of_that_size(name):
    net = build(name).eval()
    for height, width in ((17, 23), (1, 1)) if name in LARGE else ((17, 23), (1, 1), (5, 3), (16, 9)):
        out = net(noise(1, 3, height, width))
        assert out.shape == (1, 3, height * net.facts.scale, width * net.facts.scale)
        assert out.isfinite().all()


@pytest.mark.parametrize("name", sorted(set(NAMES) - LARGE))
def test_a_batch_of_one_trains_where_the_facts_say_so(name):
    net = build(name).train()
    lq = image(net, 32, 32)
    if net.facts.trains_alone:
        net(lq).mean().backward()
    else:
        with pytest.raises(ValueError, match="more than 1 value"):
            net(lq)


@pytest.mark.parametrize("name", sorted(set(NAMES) - LARGE))
def test_autocast_rounds_the_output_a_little_and_every_gradient_is_finite(name):
    net = build(name).train()
    lq = image(net, 32, 32, n=2)
    torch.manual_seed(1)
    exact = net(lq).detach()
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(lq).float()
    assert (rounded - exact).abs().mean() < 0.05 * exact.abs().max()
    rounded.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", sorted(set(NAMES) - LARGE))
def test_training_stopped_after_any_step_and_resumed_is_bit_for_bit_the_same(name):
    def model():
        torch.manual_seed(2)
        net = build_network(spec_of(name))
        made = make_model(net, ema=False, precision=Precision(torch.device("cpu")))
        return made

    def steps(trained, numbers):
        for step in numbers:
            trained.networks.set_learning_rates(step, 1e-2)
            trained.optimize_parameters(batch, step, Controls(batch=2, micro_batch=2, lq_size=side))

    if FAMILIES[name].scales == (1,) or FAMILIES[name].scales == (4,):
        pytest.skip("the data of this test are for scale 2")
    side = max(16, build_network(spec_of(name)).facts.min_size)
    batch = next(TrainLoader(Waves(), seed=1).batches(0, 2, side))
    one, two = model(), model()
    steps(one, range(2))
    steps(two, range(1))
    resumed = model()
    resumed.load_state_dict(copy.deepcopy(two.state_dict()))
    steps(resumed, range(1, 2))
    assert_same(one.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("name", sorted(set(NAMES) - LARGE))
@torch.no_grad()
def test_a_tile_equals_the_whole_within_what_the_facts_promise(name):
    net = build(name).eval()
    exact, step, scale = net.facts.tile_margin, net.facts.multiple_of, net.facts.scale
    margin = 32 if exact is None else exact
    left, kept = 3 * step, 4 * step
    image = noise(1, 3, net.facts.min_size + 16, left + margin + kept + margin + left)
    if exact is None:  # photographs are smooth
        image = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(image, (4, 4, 4, 4), "reflect"), 9, 1)
    for axis, wide in ((3, image), (2, image.transpose(2, 3).contiguous())):
        tile = net(wide.narrow(axis, left, margin + kept + margin)).narrow(axis, margin * scale, kept * scale)
        reference = net(wide).narrow(axis, (left + margin) * scale, kept * scale)
        if exact is not None:
            assert_close(tile, reference)
        else:
            assert (tile - reference).abs().mean() < APART.get(name, 0.05) * reference.abs().mean()


@every
@torch.no_grad()
def test_a_released_file_loads_here_and_in_spandrel_with_the_same_function(name, tmp_path):
    family, net = FAMILIES[name], build(name).eval()
    path = tmp_path / "net.safetensors"
    metadata = {"architecture": name, "options": json.dumps(net.options)}
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path, metadata)
    lq = image(net, 41, 50) if name not in LARGE else whole(net, image(net))
    expected = net(lq)
    assert torch.equal(load_network(path)(lq), expected)
    said = {key: net.options[key] for key in family.asks}
    bare = tmp_path / "bare.safetensors"
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, bare)
    assert torch.equal(load_network(bare, **said)(lq), expected)
    read = ModelLoader(device="cpu").load_from_file(bare)
    assert read.scale == net.facts.scale
    if name not in GUESSED_THERE | MORE_CHANNELS:  # chaiNNer fills up an image of any size in the same way
        assert_close(first(read(lq.clone())), expected.clamp(0, 1))


@pytest.mark.parametrize("name", sorted(n for n in NAMES if FAMILIES[n].blocks and n not in LARGE))
def test_blocks_computed_twice_give_the_same_gradient_and_statistics(name):
    plain, twice = (build(name, use_checkpointing=on).train() for on in (False, True))
    assert plain.state_dict().keys() == twice.state_dict().keys()
    lq = image(plain, 16, 16, n=2)
    for net in (plain, twice):
        torch.manual_seed(4)
        net(lq).square().mean().backward()
    assert sum(type(m) is not type(n) for m, n in zip(plain.modules(), twice.modules(), strict=True))
    for (key, one), other in zip(plain.named_parameters(), twice.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), key
        assert one.grad is None or torch.equal(one.grad, other.grad), key
    assert_same(plain.state_dict(), twice.state_dict())


@every
def test_its_options_rebuild_it_and_an_unknown_one_is_refused_by_name(name):
    net = build_network(spec_of(name))
    again = build_network({"type": name, **json.loads(json.dumps(net.options))})
    assert again.facts == net.facts
    assert {k: v.shape for k, v in net.state_dict().items()} == {
        k: v.shape for k, v in again.state_dict().items()
    }
    with pytest.raises(ConfigError, match="num_feets"):
        build_network({**spec_of(name), "num_feets": 3})


@every
def test_a_scale_that_a_family_lacks_is_refused(name):
    with pytest.raises(ConfigError, match="scale 7"):
        build_network(spec_of(name, scale=7))


def test_presets_differ_from_their_family_in_defaults_alone():
    for family in FAMILIES.values():
        known = NETWORKS.parameters(family.name)
        for preset, changes in family.presets.items():
            own = NETWORKS.parameters(preset)
            assert own.keys() == known.keys()
            assert {key for key in own if own[key].default != known[key].default} <= changes.keys()
            assert {key: own[key].default for key in changes} == changes


def test_names_and_presets_build_nothing_before_they_are_asked_for():
    program = (
        "import sys; from traiNNer.archs import NETWORKS; NETWORKS.names(); print('spandrel' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
    assert len(PUBLISHED) > 60


@pytest.mark.parametrize("size", [(40, 72), (64, 96)])
@torch.no_grad()
def test_the_stripes_of_grl_take_images_that_are_not_square(size):
    heads = {"depths": [1, 1], "num_heads_window": [2, 2], "num_heads_stripe": [2, 2]}
    net = build_network({"type": "grl_t", "scale": 2, "embed_dim": 16, **heads}).eval()
    assert net(torch.rand(1, 3, *size)).shape[2:] == tuple(2 * side for side in size)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_pictures_are_upscaled_in_low_precision_where_attention_mixes_types(dtype):
    net, cpu = build("swinir"), torch.device("cpu")
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    low, full = (
        ImageUpscaler(net, net.facts, device=cpu, dtype=kind).pixels(pixels).astype(int)
        for kind in (dtype, torch.float32)
    )
    assert 0 < np.abs(low - full).max() <= 4
