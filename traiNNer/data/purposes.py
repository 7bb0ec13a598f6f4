"""What random numbers are for: separate sequences under one seed, the second word of the key of Philox."""

from __future__ import annotations

from enum import IntEnum


class Purpose(IntEnum):
    """No two uses may share one: what is drawn for one would repeat in the other."""

    ORDER = 0
    """Of the images in an epoch."""
    CROP = 1
    """Place and flips of a sample."""
    TRAIN = 2
    """How a training sample is degraded."""
    VALIDATION = 3
    """How a validation image is degraded."""
    CHOICE = 4
    """Which of several sources a sample is from."""
    MIXTURE = 5
    """How the samples of a step are mixed."""
