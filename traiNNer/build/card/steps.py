"""The time and memory of a bare training step: forward, L1, backward and AdamW, on one batch on the device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from traiNNer.build.card.settings import (
    LAYOUTS,
    Case,
    Report,
    Settings,
    autocast_dtype,
    build,
    set_matmul,
)
from traiNNer.models.out_of_memory import unless_out_of_memory

_WARM_UP = 4  # steps, in which cuDNN tries its algorithms
_BLOCKS = 3  # the median of which is the answer


class Timing(NamedTuple):
    """What steps of one case take."""

    milliseconds: float
    first_seconds: float
    """Duration of the first step, in which a compiled network is compiled, in seconds."""
    memory: int | None
    """Bytes at the peak, weights and moments included; None where the device does not count."""


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_calls(step: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Milliseconds of a call: the median of three blocks of calls that take about `seconds` together."""
    synchronize(device)
    began = time.perf_counter()
    step()
    synchronize(device)
    once = max(1e-6, time.perf_counter() - began)
    calls = max(1, min(200, round(seconds / _BLOCKS / once)))
    found: list[float] = []
    for _ in range(_BLOCKS):
        began = time.perf_counter()
        for _ in range(calls):
            step()
        synchronize(device)
        found.append((time.perf_counter() - began) / calls)
    return 1e3 * statistics.median(found)


def bare_step(settings: Settings, case: Case) -> Callable[[], None]:
    """A step of the case on a batch of noise."""
    device = torch.device(settings.device)
    set_matmul(case.precision)
    torch.manual_seed(0)
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    net = build(settings.networks[case.network]).to(device).to(memory_format=layout).train()
    side = settings.lq_size
    lq = torch.rand(case.batch, 3, side, side).to(device).to(memory_format=layout)
    gt = torch.rand(case.batch, 3, side * settings.scale, side * settings.scale).to(device)
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-5, fused=True)
    low = autocast_dtype(case.precision)
    run: Callable[[torch.Tensor], torch.Tensor] = _compiled(net, settings) if case.compiled else net

    def step() -> None:
        with torch.autocast(device.type, low) if low else nullcontext():
            output = run(lq)
        F.l1_loss(output.float(), gt).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _compiled(net: nn.Module, settings: Settings) -> Callable[[torch.Tensor], torch.Tensor]:
    """As `use_compile: true`; a trial does not wait for the compilers of C++ or Triton."""
    return torch.compile(net, backend="eager" if settings.tiny else "inductor")


def time_case(settings: Settings, case: Case) -> Timing | None:
    """What the case takes, or None where memory does not suffice."""
    device = torch.device(settings.device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)

    def measure() -> Timing:
        step = bare_step(settings, case)
        began = time.perf_counter()
        step()
        synchronize(device)
        first = time.perf_counter() - began
        for _ in range(_WARM_UP - 1):
            step()
        milliseconds = time_calls(step, device, settings.seconds)
        memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        return Timing(milliseconds, first, memory)

    return unless_out_of_memory(measure)


def row_of(settings: Settings, case: Case) -> dict[str, Any]:
    """The figures of a case; a reason in place of them where there are none."""
    row: dict[str, Any] = case._asdict()
    try:
        timing = time_case(settings, case)
    except (ImportError, RuntimeError) as error:
        return row | {"failed": str(error).strip().splitlines()[0]}
    if timing is None:
        return row | {"failed": "out of memory"}
    return row | {
        "milliseconds": round(timing.milliseconds, 3),
        "samples_per_second": round(1e3 * case.batch / timing.milliseconds, 1),
        "first_seconds": round(timing.first_seconds, 2),
        "memory_mib": None if timing.memory is None else round(timing.memory / 2**20, 1),
    }


def _report_cases(settings: Settings, cases: Iterator[Case], report: Report, until: float) -> None:
    """The rows of all cases for which there is time; the others are named."""
    for case in cases:
        if time.monotonic() > until:
            report(case._asdict() | {"failed": "no time was left"})
        else:
            report(row_of(settings, case))


def _layouts(settings: Settings) -> Iterator[Case]:
    """The most telling first: whatever time there is, every network has been seen in some precisions."""
    for precision, channels_last in LAYOUTS:
        if precision == "tf32" and settings.device != "cuda":
            continue
        for network in settings.networks:
            yield Case(network, precision, channels_last, settings.batch)


def measure_precisions(settings: Settings, report: Report, until: float) -> None:
    """Every network in every precision and memory layout."""
    _report_cases(settings, _layouts(settings), report, until)


def measure_batches(settings: Settings, report: Report, until: float) -> None:
    """Every network with batches of several sizes, in bfloat16 and channels_last."""
    cases = (Case(name, "bf16", True, batch) for batch in settings.batches for name in settings.networks)
    _report_cases(settings, cases, report, until)


def measure_compiling(settings: Settings, report: Report, until: float) -> None:
    """Some networks compiled, and what compiling them takes."""
    cases = (Case(name, "bf16", True, settings.batch, compiled=True) for name in settings.compiled)
    _report_cases(settings, cases, report, until)
