"""What a step costs beyond the network: operations of torch, and reads of the device by the host."""

import argparse

import benchmark_training as benchmark
import pytest
from operation_counts import operations_and_reads

from traiNNer.data.loader import TrainLoader

NETWORKS = {"compact": {}, "esrgan": {"num_block": 2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cost")


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("automations", [{}, benchmark.ALL], ids=["plain", "automations"])
def test_a_step_asks_for_few_operations_and_reads_the_device_once_per_window(folder, network, automations):
    options = argparse.Namespace(
        network=network, network_options=NETWORKS[network], scale=2, batch=2, lq_size=16, gt=None, lq=None,
        workers=0, device="cpu", bf16=False, compile=False,
    )  # fmt: skip
    file = benchmark.configuration(options, folder, f"{network}_{len(automations)}", **automations)
    resolved, parts, images = benchmark.build(file)
    trainer = benchmark.real(resolved, parts)
    for _ in range(20):
        trainer.advance()
    operations, reads = operations_and_reads(trainer.advance, steps=20)
    batch = next(TrainLoader(images, 0).batches(0, 2, 16))
    work, _ = operations_and_reads(benchmark.forward_and_backward(parts, batch), steps=20)
    assert work < operations <= 1.4 * work
    assert reads == pytest.approx(1 / parts.plan.window)
