"""Fixtures for all tests: where the real photographs and recorded numbers are, and one thread per process."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)  # two test processes share two cores


def _data() -> Path:
    return Path(os.environ.get("TRAINNER_DATA", ROOT / "../shared/data")).resolve()


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
