"""Fixtures for all tests: where the real photographs and recorded numbers are, and one thread per process."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from traiNNer.runtime.console import end_logging

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)  # two test processes share two cores


def _data() -> Path:
    return Path(os.environ.get("TRAINNER_DATA", ROOT / "../shared/data")).resolve()


PHOTOGRAPHS = (
    "astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg",
    "rocket.jpg",
)  # fmt: skip
"""Colour photographs that scikit-image installs with itself, so that nothing is downloaded."""


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """No test writes its log to the closed output of one before it."""
    yield
    end_logging()


@pytest.fixture(scope="session")
def photograph_files() -> list[Path]:
    """Their files; sides of 300 to 1411 pixels, PNG and JPEG."""
    skimage = pytest.importorskip("skimage")
    return [Path(skimage.__file__).parent / "data" / name for name in PHOTOGRAPHS]


@pytest.fixture(scope="session")
def photographs(photograph_files: list[Path]) -> list[NDArray[np.uint8]]:
    """Their middle, (240, 240, 3), RGB."""
    found = []
    for path in photograph_files:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert image is not None, path
        top, left = ((side - 240) // 2 for side in image.shape[:2])
        found.append(np.ascontiguousarray(image[top : top + 240, left : left + 240, ::-1]))
    return found


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real photographs, benchmarks and weights; skips where it is absent."""
    if not _data().is_dir():
        pytest.skip(f"no photographs at {_data()}; set TRAINNER_DATA to their folder")
    return _data()


@pytest.fixture(scope="session")
def golden_root() -> Path:
    """The folder of recorded vectors, beside the photographs; skips where it is absent."""
    golden = _data().parent / "golden"
    if not golden.is_dir():
        pytest.skip(f"no recorded vectors at {golden}; they lie beside the folder named by TRAINNER_DATA")
    return golden


@pytest.fixture(scope="session")
def contract_root() -> Path:
    """The folder of configurations that must load, beside the photographs; skips where it is absent."""
    contract = _data().parent / "contract"
    if not contract.is_dir():
        pytest.skip(f"no contract files at {contract}; they lie beside the folder named by TRAINNER_DATA")
    return contract
