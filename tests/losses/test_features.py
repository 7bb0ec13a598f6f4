"""Feature networks: computed once, found by their files, explained where they are not."""

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from traiNNer.archs import lpips_dists as distances
from traiNNer.archs import vgg_features as features
from traiNNer.archs.vgg_features import FeatureNetwork, shared_network
from traiNNer.losses import LOSSES, LossInputs
from traiNNer.registry import ConfigError


def inputs(*, gradient=False):
    generator = torch.Generator().manual_seed(0)
    output, gt = (torch.rand(2, 3, 32, 32, generator=generator) for _ in range(2))
    return LossInputs(output=output.requires_grad_(gradient), gt=gt, lq=gt)


def flops(*losses, gradient=False):
    """Multiplications and additions of convolutions and products that the losses of one step take."""
    given = inputs(gradient=gradient)
    with FlopCounterMode(display=False) as counter:
        total = sum(loss(given) for loss in losses)
        if gradient:
            total.backward()
    return counter.get_total_flops()


def perceptual(*layers, **options):
    return LOSSES.build({"type": "PerceptualLoss", "pretrained": False, "layers": list(layers), **options})


@pytest.mark.parametrize("gradient", [False, True])
def test_losses_through_the_same_network_compute_it_once(gradient):
    shallow, deep, other = perceptual("conv1_1"), perceptual("relu1_2", "conv2_2"), perceptual("conv2_1")
    alone = flops(deep, gradient=gradient)
    assert alone > flops(shallow, gradient=gradient) > 0
    for order in ((shallow, deep, other), (deep, shallow, other), (other, deep, shallow)):
        assert flops(*order, gradient=gradient) == alone


def test_lpips_perceptual_and_contextual_losses_share_a_network():
    lpips = LOSSES.build({"type": "LPIPSLoss", "pretrained": False})
    same = perceptual("conv3_3", vgg_type="vgg16")
    assert lpips.network is same.layers.network
    assert flops(lpips, same) == flops(lpips)


@pytest.mark.parametrize(
    "other", [{"use_input_norm": False}, {"range_norm": True}, {"vgg_type": "vgg16"}], ids=str
)
def test_networks_of_other_settings_are_not_shared(other):
    one, two = perceptual("conv1_1"), perceptual("conv1_1", **other)
    assert one.layers.network is not two.layers.network
    assert flops(one, two) == 2 * flops(one)


def test_the_target_costs_no_backward_pass():
    loss = perceptual("conv2_2")
    forward = flops(loss)
    # of the output: as much again for the gradient of its image; nothing for the weights or for the target
    first = flops(perceptual("conv1_1"))
    assert flops(loss, gradient=True) == pytest.approx(1.5 * forward, abs=first)
    given = inputs(gradient=True)
    found = given.features(loss.layers.network, ["conv2_2"])
    assert found.output["conv2_2"].requires_grad
    assert not found.gt["conv2_2"].requires_grad


def test_layers_that_nobody_asks_for_are_not_kept():
    loss = perceptual("conv2_2")
    given = inputs()
    loss(given)
    ((activations, _),) = given._activations.values()
    assert activations._kept.keys() <= loss.layers.network.taps


def test_a_network_goes_with_its_last_owner():
    first = perceptual("conv1_1", range_norm=True)
    key = id(first.layers.network)
    assert id(perceptual("conv1_2", range_norm=True).layers.network) == key
    held = len(features._shared)
    del first
    assert len(features._shared) == held - 1


def test_random_weights_are_the_same_every_time_and_announced(caplog):
    one = FeatureNetwork("alexnet", pretrained=False)
    two = FeatureNetwork("alexnet", pretrained=False)
    assert "alexnet: random weights" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), two.buffers(), strict=True))
    deep = dict(one.walk(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))))["relu5"]
    assert 0.1 < deep.std() < 10


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of torch, and no way out."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


OFFLINE = [
    ({"type": "PerceptualLoss"}, "vgg19-dcbb9e9d.pth", "weights: path"),
    ({"type": "PerceptualLoss", "vgg_type": "alexnet"}, "alexnet-owt-7be5be79.pth", "weights: path"),
    ({"type": "LPIPSLoss"}, "vgg16-397923af.pth", "weights: path"),
    ({"type": "DISTSLoss"}, "vgg16-397923af.pth", "weights: path"),
]


@pytest.mark.parametrize(("spec", "file", "remedy"), OFFLINE)
def test_without_network_the_missing_file_its_place_and_the_remedy_are_named(cache, spec, file, remedy):
    with pytest.raises(ConfigError) as caught:
        LOSSES.build(spec)
    for words in (str(cache / file), "https://download.pytorch.org/models/", remedy):
        assert words in str(caught.value)
    assert list(cache.iterdir()) == []


def test_the_weights_of_the_distances_are_named_too(cache):
    with pytest.raises(ConfigError, match=r"lpips_v0.1_alex-df73285e.pth.*'linear_weights: path'"):
        distances.Lpips("alex")
    with pytest.raises(ConfigError, match=r"dists_weights-f5e65c96.pt.*'dists_weights: path'"):
        distances.Dists()


def test_the_cache_of_torchvision_is_used(cache):
    drawn = FeatureNetwork("alexnet", pretrained=False)
    state = {key.replace("_", "."): 2 * tensor for key, tensor in drawn.named_buffers() if "features" in key}
    torch.save(state, cache / "alexnet-owt-7be5be79.pth")
    found = FeatureNetwork("alexnet")
    assert torch.equal(found.features_3_weight, 2 * drawn.features_3_weight)
    network = shared_network("alexnet", ["relu1"])
    assert torch.equal(network.features_0_weight, found.features_0_weight)


def test_a_file_of_another_network_is_explained(cache):
    drawn = FeatureNetwork("alexnet", pretrained=False)
    state = {key.replace("_", "."): tensor for key, tensor in drawn.named_buffers() if "features" in key}
    torch.save(state, cache / "mine.pth")
    with pytest.raises(ConfigError, match=r"mine.pth: not the weights of vgg16: features.0.weight should be"):
        FeatureNetwork("vgg16", weights=str(cache / "mine.pth"))
    with pytest.raises(ConfigError, match=r"mine.pth: holds no lin0.model.1.weight of LPIPS with alex"):
        distances.Lpips("alex", linear_weights=str(cache / "mine.pth"))
    with pytest.raises(ConfigError, match=r"mine.pth: holds no alpha of DISTS"):
        distances.Dists(dists_weights=str(cache / "mine.pth"))


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "alexnet"])
def test_the_files_are_those_of_torchvision(name):
    weights = {"vgg16": "VGG16_Weights", "vgg19": "VGG19_Weights", "alexnet": "AlexNet_Weights"}[name]
    file = features._FILES[name]
    assert file.url == getattr(torchvision.models, weights).IMAGENET1K_V1.url
    assert file.url.endswith("/" + file.file_name)


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "alexnet"])
def test_the_layers_are_those_of_torchvision(name):
    with torch.device("meta"):
        expected = getattr(torchvision.models, name)(weights=None).features.state_dict()
    drawn = FeatureNetwork(name, pretrained=False)
    found = {
        key.removeprefix("features_").replace("_", "."): tensor.shape
        for key, tensor in drawn.named_buffers()
        if "features" in key
    }
    assert found == {key: tensor.shape for key, tensor in expected.items()}
