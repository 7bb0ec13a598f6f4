"""Losses against another computation of the same: torchvision, numpy, skimage, the metric, a loop."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file, save_file
from skimage.color import rgb2lab

from traiNNer.archs.vgg_features import FeatureNetwork
from traiNNer.data.images.resize import imresize
from traiNNer.losses import LOSSES, LossInputs
from traiNNer.metrics import METRICS


def images(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 256, shape, generator=generator) / 255 for _ in range(2))


def inputs(output, gt):
    return LossInputs(output=output, gt=gt, lq=gt)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of weights, drawn at random, by what takes them; in the form of those that are downloaded."""
    folder, generator = tmp_path_factory.mktemp("weights"), torch.Generator().manual_seed(1)
    found = {}
    for name, short in (("alexnet", "lpips_alex"), ("vgg16", "lpips_vgg")):
        drawn = {}
        for key, tensor in empty_layers(name).state_dict().items():
            inputs = math.prod(tensor.shape[1:])
            drawn[f"features.{key}"] = torch.randn(tensor.shape, generator=generator).mul(
                math.sqrt(2 / inputs)
            )
        widths = {"alexnet": (64, 192, 384, 256, 256), "vgg16": (64, 128, 256, 512, 512)}[name]
        rates = {
            f"lin{k}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
            for k, width in enumerate(widths)
        }
        for label, tensors in ((name, drawn), (short, rates)):
            found[label] = str(folder / f"{label}.safetensors")
            save_file({key: tensor.half() for key, tensor in tensors.items()}, found[label])
    return found


def empty_layers(name):
    """torchvision's layers without values."""
    with torch.device("meta"):
        return getattr(torchvision.models, name)(weights=None).features.eval()


def torchvisions(name, file):
    """torchvision's layers with the weights of a file."""
    features = empty_layers(name)
    weights = {key.removeprefix("features."): tensor.float() for key, tensor in load_file(file).items()}
    features.load_state_dict(weights, assign=True)
    for module in features:
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    return features


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_activations_are_those_of_torchvision_under_the_usual_names(files, name):
    (image, _) = images(2, 3, 67, 80)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    network = FeatureNetwork(name, weights=files[name])
    kinds = {"Conv2d": "conv", "ReLU": "relu", "MaxPool2d": "pool"}
    x = (image - mean) / std
    with torch.no_grad():
        for module, (tap, found) in zip(torchvisions(name, files[name]), network.walk(image), strict=True):
            x = module(x)
            assert tap.startswith(kinds[type(module).__name__])
            torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)
    assert tap == "pool5"


def test_the_range_and_the_norm_of_the_input_are_as_asked():
    image, _ = images(1, 3, 8, 8)
    plain = FeatureNetwork("vgg16", pretrained=False, use_input_norm=False)
    ranged = FeatureNetwork("vgg16", pretrained=False, use_input_norm=False, range_norm=True)
    (_, expected), (_, found) = next(plain.walk(image)), next(ranged.walk(2 * image - 1))
    torch.testing.assert_close(found, expected)
    weight = plain.get_buffer("features_0_weight")
    torch.testing.assert_close(expected, F.conv2d(image, weight, padding=1))


def test_perceptual_and_style_loss_are_the_sums_of_basicsr(files):
    output, gt = images(2, 3, 40, 48)
    layers = {"conv1_2": 0.1, "relu3_3": 2.0}
    network = FeatureNetwork("vgg16", weights=files["vgg16"])
    a, b = dict(network.walk(output)), dict(network.walk(gt))
    perceptual = sum(weight * F.l1_loss(a[name], b[name]) for name, weight in layers.items())
    style = 0
    for name, weight in layers.items():
        n, c, h, w = a[name].shape
        grams = [torch.einsum("nchw,ndhw->ncd", x[name], x[name]) / (c * h * w) for x in (a, b)]
        style += weight * F.l1_loss(*grams)
    spec = {"type": "PerceptualLoss", "vgg_type": "vgg16", "weights": files["vgg16"], "layer_weights": layers}
    loss = LOSSES.build({**spec, "perceptual_weight": 0.5, "style_weight": 3.0})
    assert loss(inputs(output, gt)).item() == pytest.approx((0.5 * perceptual + 3 * style).item(), rel=1e-5)
    norms = LOSSES.build({**spec, "criterion": "fro", "layer_weights": {"relu3_3": 1.0}})
    expected = sum(torch.linalg.vector_norm((a["relu3_3"] - b["relu3_3"])[i]) for i in range(2)) / 2
    assert norms(inputs(output, gt)).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_the_lpips_loss_is_the_mean_of_the_metric(files, net):
    output, gt = images(2, 3, 40, 48)
    network = {"alex": "alexnet", "vgg": "vgg16"}[net]
    options = {"net": net, "weights": files[network], "linear_weights": files[f"lpips_{net}"]}
    scores = METRICS.build({"type": "lpips", **options})(output, gt)
    loss = LOSSES.build({"type": "LPIPSLoss", **options})(inputs(output, gt))
    assert loss.item() == pytest.approx(scores.mean().item(), rel=1e-5)
    assert scores[0] != scores[1]


def test_the_dists_loss_is_the_mean_of_the_metric():
    output, gt = images(2, 3, 20, 24)
    scores = METRICS.build({"type": "dists", "pretrained": False})(output, gt)
    loss = LOSSES.build({"type": "DISTSLoss", "pretrained": False})(inputs(output, gt))
    assert loss.item() == pytest.approx(scores.mean().item(), rel=1e-5)


def test_the_contextual_loss_is_that_of_a_loop():
    output, gt = (image.double() for image in images(2, 3, 10, 8))
    spec = {"type": "ContextualLoss", "pretrained": False, "layers": ["relu1_1"], "max_1d_size": 5}
    network = FeatureNetwork("vgg19", pretrained=False)
    outputs, targets = (dict(itertools.islice(network.walk(x), 2))["relu1_1"] for x in (output, gt))
    losses = []
    for n in range(2):
        x, y = (a[n, :, ::2, ::2].flatten(1).T for a in (outputs, targets))  # positions, channels
        x, y = x - y.mean(0), y - y.mean(0)
        d = torch.stack([(1 - F.cosine_similarity(row[None], y)) / 2 for row in x])
        best = torch.zeros(len(y))
        for row in d:
            w = torch.exp((1 - row / (row.min() + 1e-5)) / 0.5)
            best = torch.maximum(best, w / w.sum())
        losses.append(-math.log(best.mean()))
    found = LOSSES.build(spec)(inputs(output, gt)).item()
    assert found == pytest.approx(sum(losses) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("alpha", "log_matrix", "factor"), [(1.0, False, 1), (0.5, True, 1), (2.0, False, 2)]
)
def test_the_focal_frequency_loss_is_that_of_numpy(alpha, log_matrix, factor):
    output, gt = (image.double() for image in images(2, 3, 12, 17))
    difference = (output - gt).numpy()
    height, width = 12 // factor, 17 // factor
    values = []
    for row in range(factor):
        for column in range(factor):
            rows = slice(row * height, (row + 1) * height)
            columns = slice(column * width, (column + 1) * width)
            distance = np.abs(np.fft.fft2(difference[:, :, rows, columns], norm="ortho"))
            weight = distance**alpha
            weight = np.log1p(weight) if log_matrix else weight
            weight = weight / weight.max((2, 3), keepdims=True)
            values.append((weight * distance**2).mean())
    options = {"alpha": alpha, "log_matrix": log_matrix, "patch_factor": factor}
    loss = LOSSES.build({"type": "FocalFrequencyLoss", **options})
    assert loss(inputs(output, gt)).item() == pytest.approx(np.mean(values), rel=1e-12)


def test_the_focal_weights_give_no_gradient():
    output, gt = (image.double() for image in images(1, 3, 8, 8))
    loss = LOSSES.build({"type": "FocalFrequencyLoss"})
    (found,) = torch.autograd.grad(loss(inputs(output.requires_grad_(), gt)), output)
    spectrum = torch.fft.fft2(output - gt, norm="ortho")
    weight = (spectrum.abs() / spectrum.abs().amax((2, 3), keepdim=True)).detach()
    (expected,) = torch.autograd.grad((weight * spectrum.abs() ** 2).mean(), output)
    torch.testing.assert_close(found, expected)


def test_swd_of_two_colours_is_that_of_skimages_lab():
    output = torch.tensor([0.8, 0.2, 0.1]).double().view(1, 3, 1, 1).expand(1, 3, 40, 40)
    gt = torch.tensor([0.02, 0.5, 0.9]).double().view(1, 3, 1, 1).expand(1, 3, 40, 40)
    change = torch.from_numpy(rgb2lab(output[0, :, 0, 0].numpy()) - rgb2lab(gt[0, :, 0, 0].numpy()))
    torch.manual_seed(3)  # as the step does
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn(4, 75, generator=generator, dtype=torch.float64) for _ in range(2)]  # of two scales
    directions = torch.cat(drawn) / torch.cat(drawn).norm(dim=1, keepdim=True)
    expected = (directions.view(8, 3, 25).sum(2) @ change).abs().mean()
    loss = LOSSES.build({"type": "MSSWDLoss", "num_scale": 2, "num_proj": 4, "patch_size": 5})
    assert loss(inputs(output, gt)).item() == pytest.approx(expected.item(), rel=1e-3)


def test_swd_compares_colours_wherever_they_are():
    output, gt = images(1, 3, 16, 16)
    moved = gt.flatten(2)[..., torch.randperm(256, generator=torch.Generator().manual_seed(0))].view_as(gt)
    loss = LOSSES.build({"type": "MSSWDLoss", "num_scale": 1, "patch_size": 1})
    assert loss(inputs(moved, gt)).item() == pytest.approx(0, abs=1e-5)
    assert loss(inputs(output, gt)).item() > 1


def test_swd_draws_other_directions_at_every_step():
    output, gt = images(1, 3, 16, 16)
    loss = LOSSES.build({"type": "MSSWDLoss"})
    found = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        torch.rand(seed)  # what the network draws does not matter
        found.append(loss(inputs(output, gt)).item())
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_consistency_reduces_as_matlab_does(scale):
    _, gt = images(1, 3, 12 * scale, 7 * scale)
    lq = imresize(gt[0].permute(1, 2, 0).double().numpy(), 1 / scale)
    given = LossInputs(output=gt.double(), gt=gt, lq=torch.from_numpy(lq).permute(2, 0, 1)[None])
    assert LOSSES.build({"type": "LQConsistencyLoss"})(given).item() == pytest.approx(0, abs=1e-12)
