"""Trying with one patch, before the first step, what would otherwise end a run thousands of steps later."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from traiNNer.archs import NetworkFacts
from traiNNer.losses import LossInputs, uses_discriminator
from traiNNer.models.adversary import Adversary
from traiNNer.models.colour import Color
from traiNNer.models.out_of_memory import is_out_of_memory
from traiNNer.models.precision import Precision
from traiNNer.registry import ConfigError
from traiNNer.wording import counted

_LARGEST = 1024
"""GT pixels: the search for a patch that suffices ends there."""


class _Weighed(Protocol):
    @property
    def module(self) -> nn.Module: ...


@torch.no_grad()
def rehearse_network(
    net: nn.Module, lq_size: int, scale: int, precision: Precision, *, key: str = "network_g"
) -> None:
    """Send a training patch through a generator, whose option is `key`.

    Raises:
        ConfigError: If it takes other channels or sizes, or gives other ones than the ground truth has.
    """
    facts: NetworkFacts = net.facts  # type: ignore[assignment]  # every registered network has it
    if facts.channels != precision.channels:
        raise ConfigError(f"{key}: {wrong_channels(facts.channels, precision.color)}")
    training = net.training
    net.eval()  # nothing of it moves
    patch = torch.zeros(1, facts.channels, lq_size, lq_size, dtype=precision.dtype, device=precision.device)
    try:
        output = net(patch)
    except (MemoryError, RuntimeError, ValueError, IndexError, AssertionError) as error:
        if is_out_of_memory(error):
            return  # smaller parts of the batch are tried later
        raise ConfigError(
            f"{key}: does not take patches of {counted(facts.channels, 'channel')} and {lq_size}x{lq_size} "
            f"pixels (datasets.train.lq_size): {_first_line(error)}"
        ) from error
    finally:
        net.train(training)
    wanted = (1, facts.channels, lq_size * scale, lq_size * scale)
    if tuple(output.shape) != wanted:
        raise ConfigError(
            f"{key}: makes {_described(tuple(output.shape))} of an LQ patch where the ground truth has "
            f"{_described(wanted)}"
        )


def wrong_channels(channels: int, color: Color) -> str:
    """What is to be said of a network of `channels` where the images are of `color`."""
    takes = f"takes images of {counted(channels, 'channel')}"
    if color == "rgb":
        return f"{takes}, and these are RGB: for one channel set color: y (luma) or color: grey in datasets.train"
    return (
        f"{takes}, and color: {color} in datasets.train makes one of each image: set num_in_ch: 1 and "
        "num_out_ch: 1, or as this network calls them"
    )


def _described(shape: tuple[int, ...]) -> str:
    return (
        f"{counted(shape[1], 'channel')} of {shape[-1]}x{shape[-2]}"
        if len(shape) == 4
        else f"a tensor of shape {shape}"
    )


@torch.no_grad()
def rehearse_adversary(
    adversary: Adversary, losses: Mapping[str, _Weighed], patch: int, precision: Precision
) -> None:
    """Ask the discriminator for what the losses want of it, which may be thousands of steps away.

    Raises:
        ConfigError: For one of other channels, and for penalties that torch has no second derivative for.
    """
    facts: NetworkFacts = adversary.learner.net.facts  # type: ignore[assignment]  # every registered network has it
    channels = facts.channels
    if channels != precision.channels:
        raise ConfigError(f"network_d: {wrong_channels(channels, precision.color)}")
    image = torch.zeros(1, channels, patch, patch, dtype=precision.dtype, device=precision.device)
    inputs = LossInputs(image, image, image, discriminator=adversary.discriminate)
    adversary.learner.net.eval()  # nothing of it moves
    for loss in losses.values():
        if uses_discriminator(loss.module):
            loss.module(inputs)
    try:
        adversary.rehearse_penalty(image)
    except RuntimeError as error:  # torch names the operation: sampling at learned places, as of dunet
        if "derivative for" not in str(error):
            raise
        kind = type(adversary.learner.net).__name__.lower()
        raise ConfigError(
            f"network_d: {kind} cannot be trained with the penalties of this loss (r1_weight, r2_weight): "
            f"{str(error).splitlines()[0]}; a newer torch may have it, other discriminators do without"
        ) from error
    adversary.learner.net.train()


def rehearse_losses(losses: Mapping[str, _Weighed], lq_size: int, scale: int, precision: Precision) -> None:
    """Compute every loss on a training patch, those that begin later too; the discriminator is asked elsewhere.

    Raises:
        ConfigError: Naming each loss that needs a larger patch, and how large.
    """
    problems: list[str] = []
    for index, (label, loss) in enumerate(losses.items()):
        if uses_discriminator(loss.module):
            continue
        if said := _fault(loss.module, lq_size, scale, precision):
            works = functools.partial(_works, loss.module, scale, precision)
            needed = _smallest(works, lq_size, max(lq_size, _LARGEST // scale))
            remedy = f"; datasets.train.lq_size of {needed} or more suffices" if needed else ""
            problems.append(
                f"train.losses.{index} ({label}): {said}: the GT patch has {lq_size * scale} pixels{remedy}"
            )
    if problems:
        raise ConfigError(problems)


def smallest_for_losses(
    losses: Mapping[str, _Weighed], lq_size: int, scale: int, precision: Precision
) -> int:
    """The smallest side of an LQ patch, up to `lq_size`, that all losses without a discriminator take."""
    smallest = 1
    for loss in losses.values():
        if not uses_discriminator(loss.module):
            module = loss.module
            works = functools.partial(_works, module, scale, precision)
            smallest = max(smallest, _smallest(works, 0, lq_size) or lq_size)
    return smallest


def _works(module: nn.Module, scale: int, precision: Precision, lq_size: int) -> bool:
    return lq_size > 0 and not _fault(module, lq_size, scale, precision)


@torch.no_grad()
def _fault(module: nn.Module, lq_size: int, scale: int, precision: Precision) -> str:
    """What a loss says to patches of a size; nothing if it computes them."""
    lq, output, gt = (_noise(lq_size * side, seed, precision) for seed, side in enumerate((1, scale, scale)))
    with torch.random.fork_rng(devices=[]):
        try:
            module(LossInputs(output, gt, lq, ema=lambda: gt))
        except (MemoryError, RuntimeError, ValueError, IndexError, AssertionError) as error:
            return "" if is_out_of_memory(error) else _first_line(error)
    return ""


def _noise(size: int, seed: int, precision: Precision) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, precision.channels, size, size, generator=generator).to(
        precision.device, precision.dtype
    )


def _smallest(works: Callable[[int], bool], low: int, most: int) -> int | None:
    """The smallest size above `low` that works, up to `most`; what works at a size works at larger ones."""
    high = low + 1
    while not works(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
