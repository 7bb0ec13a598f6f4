"""LDL against its definition in numpy, pixel by pixel."""

import numpy as np
import pytest
import torch

from traiNNer.build.check import check_parts
from traiNNer.losses import LOSSES, LossInputs
from traiNNer.registry import ConfigError


def images(*shape, dtype=torch.float64):
    """Output, ground truth and what the running average makes; the average is nearer in about half the pixels."""
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(shape, generator=generator, dtype=dtype)
    output, average = (gt + 0.1 * torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return output, gt, average


def ldl(output, gt, average, **options):
    loss = LOSSES.build({"type": "LDLLoss", **options})
    return loss(LossInputs(output=output, gt=gt, lq=gt, ema=lambda: average))


def expected_map(output, gt, average, ksize):
    """Of one sample, (h, w), from arrays (3, h, w)."""
    error, averaged = np.abs(output - gt).sum(0), np.abs(average - gt).sum(0)
    half = ksize // 2
    padded = np.pad(error, half, mode="reflect")
    result = np.zeros_like(error)
    for row, column in np.ndindex(error.shape):
        window = padded[row : row + ksize, column : column + ksize]
        if error[row, column] >= averaged[row, column]:
            result[row, column] = window.var(ddof=1) * error.var(ddof=1) ** (1 / 5)
    return result


@pytest.mark.parametrize("size", [(16, 16), (9, 13), (4, 21)])
@pytest.mark.parametrize("ksize", [3, 7])
@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
def test_values_are_those_of_the_definition(size, ksize, criterion, power):
    output, gt, average = images(2, 3, *size)
    samples = zip(output.numpy(), gt.numpy(), average.numpy(), strict=True)
    weighted = [expected_map(o, g, a, ksize) * (o - g) for o, g, a in samples]
    found = ldl(output, gt, average, criterion=criterion, ksize=ksize).item()
    assert found == pytest.approx((np.abs(np.stack(weighted)) ** power).mean(), rel=1e-10)


def test_nothing_is_lost_where_the_output_is_nearer_than_the_running_average():
    output, gt, _ = images(1, 3, 12, 12)
    assert ldl(output, gt, gt + 2 * (output - gt)).item() == 0
    assert ldl(output, gt, gt + 0.5 * (output - gt)).item() > 0


def test_an_error_that_does_not_vary_is_no_artifact():
    _, gt, _ = images(1, 3, 12, 12)
    output = gt + 0.2
    assert ldl(output, gt, gt).item() == pytest.approx(0, abs=1e-12)
    output[..., 4:7, 4:7] += 0.2
    assert ldl(output, gt, gt).item() > 1e-4


def test_gradients_are_finite_at_equality_and_where_the_error_does_not_vary():
    _, gt, _ = images(2, 3, 12, 12, dtype=torch.float32)
    for shift in (0.0, 0.25):
        output = (gt + shift).requires_grad_()
        ldl(output, gt, gt).backward()
        assert output.grad.isfinite().all()


def test_without_a_running_average_the_remedy_is_named():
    output, gt, _ = images(1, 3, 12, 12)
    with pytest.raises(ConfigError, match=r"set train\.ema_decay"):
        LOSSES.build({"type": "LDLLoss"})(LossInputs(output, gt, gt))
    train = {"losses": [{"type": "L1Loss"}, {"type": "LDLLoss"}]}
    where = ("train", "losses", 1)
    (problem,) = [p for p in check_parts({"train": train}) if p.path[:3] == where]
    assert "set train.ema_decay" in problem.message
    assert not [p for p in check_parts({"train": {**train, "ema_decay": 0.999}}) if p.path[:3] == where]


@pytest.mark.parametrize("ksize", [1, 4])
def test_a_window_needs_a_middle_and_neighbours(ksize):
    with pytest.raises(ConfigError, match="odd ksize of 3 or more"):
        LOSSES.build({"type": "LDLLoss", "ksize": ksize})


def test_patches_below_half_a_window_are_refused():
    with pytest.raises(ValueError, match="needs patches above 3 pixels"):
        ldl(*images(1, 3, 3, 12))
