"""Fixtures for tests of a card: the device, and settings of torch under which a card can be compared.

`TRAINNER_GPU_TESTS_ON=cpu pytest -m gpu` runs what does not need a card on the CPU, so that the tests themselves
can be tried without one.
"""

import os

import pytest
import torch

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts; deterministic products

_THIRD_PARTY = (
    "ignore:Attempting to run cuBLAS, but there was no current CUDA context",  # torch, first backward of a thread
    "ignore:TensorFloat32 tensor cores",  # torch.compile, where the tests compare without TF32
    "ignore:Please use the new API settings to control TF32",
    "ignore:Not enough SMs to use max_autotune_gemm mode",
    "ignore::FutureWarning",  # torch's ONNX exporter
    "ignore::DeprecationWarning",
)
"""Warnings of torch about itself on a card."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker(pytest.mark.gpu)
            for text in _THIRD_PARTY:
                item.add_marker(pytest.mark.filterwarnings(text))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The card; the CPU where the environment asks for it; skips without either."""
    if os.environ.get("TRAINNER_GPU_TESTS_ON") == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device; TRAINNER_GPU_TESTS_ON=cpu tries the tests on the CPU")
    return torch.device("cuda", 0)


@pytest.fixture
def card(device) -> torch.device:
    """The card; skips on the CPU, for what only a card has."""
    if device.type != "cuda":
        pytest.skip("needs a CUDA device")
    return device


@pytest.fixture(autouse=True)
def _comparable(device):
    """Without TF32, and as torch was set before, whatever the test does to it."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    deterministic = torch.are_deterministic_algorithms_enabled()
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark)
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = False, False, False
    yield
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
    torch.use_deterministic_algorithms(deterministic)
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")
