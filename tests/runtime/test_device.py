"""Which device a run takes, whether the installed torch can compute on it, and what Apple's devices cannot."""

import pytest
import small_run
import torch

from traiNNer.build.model import build_precision
from traiNNer.build.session import Session
from traiNNer.models.out_of_memory import unless_out_of_memory
from traiNNer.options import load_options
from traiNNer.registry import ConfigError
from traiNNer.runtime import device as devices
from traiNNer.runtime.device import choose_device, configure_torch, missing_kernels, why_no_card
from traiNNer.runtime.distributed import DistributedContext

CUDA_13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
CUDA_12_6 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]


@pytest.mark.parametrize(
    ("capability", "architectures", "remedy"),
    [
        ((6, 1), CUDA_13, "cu126"),  # GTX 1080
        ((7, 0), CUDA_13, "cu126"),  # V100
        ((5, 2), CUDA_13, "cu126"),  # GTX 970
        ((12, 0), CUDA_12_6, "cu130"),  # RTX 5090
        ((9, 1), ["sm_90a"], "cu130"),  # code for one card alone
        ((8, 0), ["sm_86"], "cu130"),
        ((6, 1), CUDA_12_6, None),
        ((7, 5), CUDA_13, None),
        ((8, 9), CUDA_13, None),  # RTX 4090: what was built for 8.6 runs there
        ((9, 0), ["sm_90a"], None),
        ((12, 1), CUDA_13, None),
        ((13, 0), CUDA_13, None),  # compiled for it by the driver
    ],
)
def test_a_card_without_kernels_gets_the_command_that_helps(capability, architectures, remedy):
    said = missing_kernels("Card", capability, architectures, "2.14.1")
    if remedy is None:
        assert said is None
    else:
        major, minor = capability
        assert f"Card has compute capability {major}.{minor}" in said
        assert f"--index-url https://download.pytorch.org/whl/{remedy}" in said
        assert "num_gpu: 0" in said


def pretend_card(monkeypatch, capability):
    for name, value in {
        "is_available": True,
        "device_count": 2,
        "get_device_capability": capability,
        "get_device_name": "Old card",
        "get_arch_list": CUDA_13,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)


def test_the_start_refuses_a_card_without_kernels(monkeypatch):
    pretend_card(monkeypatch, (6, 1))
    with pytest.raises(ConfigError, match="Old card has compute capability 6.1"):
        choose_device("auto", 0)
    assert choose_device(0, 0) == torch.device("cpu")
    pretend_card(monkeypatch, (8, 6))
    assert choose_device("auto", 1) == torch.device("cuda:1")
    pretend_card(monkeypatch, (6, 1))
    monkeypatch.setattr(torch.version, "hip", "6.4")  # architectures have other names there
    assert choose_device("auto", 0) == torch.device("cuda:0")


def no_card(monkeypatch, reason):
    def init():
        raise RuntimeError(f"{reason}. Please check that you have an NVIDIA GPU")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_card_that_is_asked_for_and_missing_is_missed_aloud_with_the_reason(monkeypatch, caplog):
    no_card(monkeypatch, "Found no NVIDIA driver on your system")
    for unasked in ("auto", 0):
        assert choose_device(unasked, 0) == torch.device("cpu")
    assert caplog.text == ""
    assert choose_device(2, 0) == torch.device("cpu")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "num_gpu: 2, but this runs on the CPU" in caplog.text
    assert "slower: Found no NVIDIA driver on your system; num_gpu: 0" in caplog.text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert why_no_card() == "CUDA_VISIBLE_DEVICES='-1' hides all cards"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is built for the CPU alone (pip install --upgrade torch" in why_no_card()


def test_more_processes_than_cards_are_refused_on_each_of_them(monkeypatch):
    pretend_card(monkeypatch, (8, 6))
    assert choose_device("auto", 1, local_size=2) == torch.device("cuda:1")
    for local_rank in range(3):
        with pytest.raises(ConfigError, match="3 processes on this machine.* 2 cards: --nproc_per_node=2"):
            choose_device("auto", local_rank, local_size=3)


@pytest.mark.parametrize(("group", "sent"), [(None, []), ("a group", ["meta"])])
def test_processes_exchange_a_message_by_their_devices_and_one_process_none(monkeypatch, group, sent):
    went = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: went.append(tensor.device.type))
    processes = DistributedContext()
    processes._host = group
    processes.connect(torch.device("meta"))
    assert went == sent


def test_processes_are_connected_before_anything_measures_memory(tmp_path, monkeypatch):
    small_run.write_data(tmp_path)
    connected = []
    monkeypatch.setattr(DistributedContext, "connect", lambda self, device: connected.append(device.type))
    session = Session.prepare(small_run.write_options(tmp_path, small_run.options(tmp_path)), [], check=True)
    session.close()
    assert connected == ["cpu"]


@pytest.mark.parametrize("set_by_user", [False, True])
def test_torch_takes_no_more_threads_than_there_are_processors(monkeypatch, set_by_user):
    used = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr(devices, "usable_cpus", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_NUM_THREADS", "64")
    device = torch.device("cpu")
    configure_torch(device, deterministic=False, fast_matmul=False, detect_anomaly=False)
    assert used == ([] if set_by_user else [2])


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "MPS backend out of memory (MPS allocated: 17.05 GB, other allocations: 1.02 GB, max allowed: 18 GB).",
        "HIP error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuFFT error: CUFFT_ALLOC_FAILED",
        "CUDA driver error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "backend='inductor' raised:\nOutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has",
    ],
)
def test_memory_that_runs_out_below_torchs_allocator_is_recognised(message):
    def failing():
        raise RuntimeError(message)

    assert unless_out_of_memory(failing) is None


@pytest.mark.parametrize("refusals", [0, 1])
@pytest.mark.parametrize(
    "message",
    [
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    ],
)
def test_cudnn_without_a_kernel_is_out_of_memory_only_where_memory_was_refused(
    monkeypatch, message, refusals
):
    def failing():
        raise RuntimeError(message)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", lambda: {"num_ooms": refusals})
    if refusals:
        assert unless_out_of_memory(failing) is None
    else:
        with pytest.raises(RuntimeError, match="cuDNN|engine"):
            unless_out_of_memory(failing)


def test_channels_last_is_off_on_apples_devices(tmp_path):
    options = load_options(small_run.write_options(tmp_path, small_run.options(tmp_path)))
    assert options.use_channels_last
    assert build_precision(options, torch.device("cpu")).channels_last
    assert not build_precision(options, torch.device("mps")).channels_last


def test_unsigned_words_become_signed_ones_before_they_go_to_apples_devices(tmp_path, monkeypatch):
    options = load_options(small_run.write_options(tmp_path, small_run.options(tmp_path)))
    precision = build_precision(options, torch.device("mps"))
    moved = []
    to = torch.Tensor.to

    def watched(tensor, target, *args, **kwargs):
        if target == torch.device("mps"):
            moved.append(tensor.dtype)
            return tensor
        return to(tensor, target, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", watched)
    pixels = torch.tensor([0, 65535], dtype=torch.uint16).view(1, 1, 2, 1).expand(1, 1, 2, 3)
    assert precision.images(pixels).flatten().tolist() == [0.0, 1.0] * 3
    precision.images(pixels.to(torch.uint8))
    assert moved == [torch.int32, torch.uint8]
