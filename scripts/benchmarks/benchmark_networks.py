"""Times one training step of every network: forward, L1 loss, backward and AdamW, on this machine.

    python scripts/benchmarks/benchmark_networks.py --names compact span --batch 16 --lq-size 48

Prints a Markdown table. A network of which a first step with one sample suggests more than --max-seconds a
step is left out and named below the table. Every network runs in a process of its own. Peak memory is the
device's own count on a GPU; on a CPU it is the rise of the process's resident memory over its peak before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from traiNNer.archs import NETWORKS, build_network, list_networks


class Setting(NamedTuple):
    """What all networks of one table have in common."""

    scale: int
    batch: int
    lq_size: int
    steps: int
    max_seconds: float
    precision: str
    channels_last: bool
    threads: int
    device: str


class Row(NamedTuple):
    """The measurements of one network."""

    name: str
    parameters: int
    milliseconds: float
    memory_mib: float


def measure(name: str, setting: Setting) -> Row | str:
    """The median step of one network, or why it was not timed; a discriminator sees images of output size."""
    torch.set_num_threads(setting.threads)
    enlarges = "scale" in NETWORKS.parameters(name)
    net = build_network({"type": name, "scale": setting.scale} if enlarges else {"type": name})
    side = setting.lq_size if enlarges else setting.lq_size * setting.scale
    layout = torch.channels_last if setting.channels_last else torch.contiguous_format
    net = net.to(device=setting.device).to(memory_format=layout).train()
    images = torch.rand(setting.batch, 3, side, side, device=setting.device).to(memory_format=layout)
    learned = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4, fused=True)
    before = _memory(setting.device)
    expected = _step(net, images[:1], optimizer, setting) * setting.batch
    if expected > setting.max_seconds:
        return f"a step would take about {expected:.3g} s"
    _step(net, images, optimizer, setting)  # the first of its size also chooses algorithms
    seconds = [_step(net, images, optimizer, setting) for _ in range(setting.steps)]
    memory = (_memory(setting.device) - before) / 2**20
    return Row(name, sum(p.numel() for p in learned), 1e3 * statistics.median(seconds), memory)


def _step(net: nn.Module, image: torch.Tensor, optimizer: torch.optim.Optimizer, setting: Setting) -> float:
    device = torch.device(setting.device)
    dtype = torch.float32 if setting.precision == "fp32" else torch.bfloat16
    _wait(device)
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        out = net(image)
    F.l1_loss(out.float(), torch.zeros_like(out, dtype=torch.float32)).backward()
    optimizer.step()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: str) -> float:
    """Highest use so far, in bytes."""
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--names", nargs="+", help="networks to time (default: all)")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lq-size", type=int, default=48, help="side of the input, in pixels")
    parser.add_argument("--steps", type=int, default=7, help="steps to take the median of")
    parser.add_argument("--max-seconds", type=float, default=60.0, help="leave out networks slower than this")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    """Measures each network in a fresh process and prints the table row by row."""
    arguments = vars(_arguments())
    names = arguments.pop("names") or list_networks()
    setting = Setting(**arguments)
    where = torch.cuda.get_device_name() if setting.device == "cuda" else "CPU"
    settings = ", ".join(f"{key} {value}" for key, value in arguments.items())
    print(f"{where}, torch {torch.__version__}, {settings}\n")
    print("| network | parameters | ms per step | peak memory, MiB |\n|---|---:|---:|---:|")
    left_out: list[str] = []
    for name in names:
        match _apart(name, setting):
            case Row(name, parameters, milliseconds, memory):
                print(f"| {name} | {parameters:,} | {milliseconds:.1f} | {memory:.0f} |", flush=True)
            case reason:
                left_out.append(f"{name} ({reason})")
    if left_out:
        print(f"\nLeft out: {', '.join(left_out)}.")


def _apart(name: str, setting: Setting) -> Row | str:
    """`measure` in a process of its own: the highest memory of a process never falls."""
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(measure, name, setting).result()
    except (BrokenProcessPool, torch.OutOfMemoryError):
        return "out of memory"


if __name__ == "__main__":
    main()
