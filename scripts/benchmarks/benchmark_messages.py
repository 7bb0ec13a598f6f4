"""What averaging the gradients takes over a slow link: two processes in two network namespaces (Linux, root).

The link is a virtual one whose rate is limited by a token bucket (`tc`, tbf), which has no delay of its own: what
a real one adds for its length is missing. With gloo a message of m bytes crosses it once in each direction.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from traiNNer.archs import build_network
from traiNNer.runtime.distributed import DistributedContext

NETWORKS = ("compact", "esrgan", "hat_m")
MACHINES = {"traiNNer_m0": ("tm_0", "10.78.0.1"), "traiNNer_m1": ("tm_1", "10.78.0.2")}
_BUCKET = {"1gbit": "256kb", "10gbit": "2mb"}


def ip(*arguments: str) -> None:
    """Run `ip`; a command that fails ends the measurement."""
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def link(rate: str) -> Iterator[None]:
    """Two namespaces joined by a link; `rate` is one of tc's, or `none`."""
    first, second = MACHINES
    try:
        for machine in MACHINES:
            ip("netns", "add", machine)
        (a, _), (b, _) = MACHINES.values()
        ip("link", "add", a, "netns", first, "type", "veth", "peer", "name", b, "netns", second)
        for machine, (name, address) in MACHINES.items():
            ip("-n", machine, "addr", "add", f"{address}/24", "dev", name)
            for device in (name, "lo"):
                ip("-n", machine, "link", "set", device, "up")
            if rate != "none":
                limit = ("rate", rate, "burst", _BUCKET.get(rate, "1mb"), "latency", "100ms")
                tc = ("tc", "qdisc", "add", "dev", name, "root", "tbf", *limit)
                subprocess.run(["ip", "netns", "exec", machine, *tc], check=True)
        yield
    finally:
        for machine in MACHINES:
            subprocess.run(["ip", "netns", "del", machine], check=False)


def measure(names: Sequence[str], repeats: int) -> dict[str, list[float]]:
    """Seconds of each averaging, by network and type of number; both processes must call it."""
    torch.set_num_threads(1)
    processes = DistributedContext.start("pytorch", cpu=True)
    taken: dict[str, list[float]] = {}
    for name in names:
        net = build_network({"type": name, "scale": 2})
        for dtype in (torch.float32, torch.bfloat16):
            gradients = [torch.ones(p.shape, dtype=dtype) for p in net.parameters()]
            label = f"{name} {sum(g.numel() for g in gradients) / 1e6:.1f} M {len(gradients)} tensors {dtype}"
            for _ in range(repeats):
                processes.wait()
                began = time.perf_counter()
                processes.average(gradients)
                taken.setdefault(label, []).append(time.perf_counter() - began)
    rank = processes.rank
    processes.end()
    return taken if rank == 0 else {}


def between(rate: str, arguments: Sequence[str]) -> dict[str, list[float]]:
    """`measure` on both sides of a link."""
    with link(rate):
        running = []
        for rank, (machine, (name, _)) in enumerate(MACHINES.items()):
            variables = {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": name}
            meeting = {"MASTER_ADDR": MACHINES["traiNNer_m0"][1], "MASTER_PORT": "29517"}
            command = ["ip", "netns", "exec", machine, sys.executable, __file__, "--member", *arguments]
            environment = {**os.environ, **variables, **meeting}
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        said = [process.communicate()[0] for process in running]
    return json.loads(said[0].splitlines()[-1])


def main() -> int:
    """Print a table: rate, network, shortest and median time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", nargs="+", default=["none", "10gbit", "1gbit"])
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--member", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.member:
        print(json.dumps(measure(args.networks, args.repeats)))
        return 0
    arguments = ["--repeats", str(args.repeats), "--networks", *args.networks]
    print("| rate | gradients | shortest, ms | median, ms |\n|---|---|---:|---:|")
    for rate in args.rates:
        for label, seconds in between(rate, arguments).items():
            print(f"| {rate} | {label} | {1e3 * min(seconds):.0f} | {1e3 * statistics.median(seconds):.0f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
