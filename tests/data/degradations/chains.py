"""Chains and pictures for the tests of this folder."""

from functools import cache

import numpy as np

from traiNNer.build.degradation import build_chain
from traiNNer.data.degradations.draws import Draws
from traiNNer.data.purposes import Purpose
from traiNNer.data.synthetic import dead_leaves
from traiNNer.options.degradation import PRESETS, DegradationOptions

OFF = {
    "blur_prob": 0, "blur_prob2": 0, "resize_prob": [0, 0, 1], "resize_prob2": [0, 0, 1], "jpeg_prob": 0,
    "jpeg_prob2": 0, "noise_range": [0, 0], "noise_range2": [0, 0], "poisson_scale_range": [0, 0],
    "poisson_scale_range2": [0, 0], "final_sinc_prob": 0, "resize_mode_list3": ["area"],
    "resize_mode_prob3": [1],
}  # fmt: skip
"""Nothing but shrinking by the mean."""


def chain(preset="realesrgan", **options):
    return build_chain(DegradationOptions(**{**PRESETS[preset], **options}))


def draws(position, seed=0):
    return Draws(seed, Purpose.TRAIN, position)


@cache
def picture(size=96, number=0):
    image = dead_leaves(size, 0, number).astype(np.float32)
    image.flags.writeable = False
    return image


def degraded(made, position, size=96, number=0, scale=4):
    return made(picture(size, number), (size // scale, size // scale), draws(position))


def traced(made, position, size=96, scale=4):
    """(stage, parameters) of one sample."""
    trace = []
    made(picture(size), (size // scale, size // scale), draws(position), trace)
    return [(applied.stage, dict(applied.parameters)) for applied in trace]
