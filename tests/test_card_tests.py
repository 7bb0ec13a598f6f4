"""The tests of a card run here on the CPU, a few of each file, so that they work when there is a card."""

import os
import subprocess
import sys

import pytest
import small_run

A_FEW = (
    "(test_networks and unetdiscriminatorsn)"
    " or (test_steps and (AdamW or halves or (measures and patchgan)))"
    " or (test_parts and (L1Loss or psnr or uint16 or average))"
    " or (test_memory and step_that_does_not_fit)"
    " or (test_runs and every_precision and bf16)"
)
"""Of each file."""


@pytest.mark.slow
def test_a_few_tests_of_a_card_pass_on_the_cpu():
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "0", "-q", "tests/gpu", "-k", A_FEW]
    environment = {**os.environ, "TRAINNER_GPU_TESTS_ON": "cpu", "OMP_NUM_THREADS": "1"}
    environment = {key: value for key, value in environment.items() if not key.startswith("PYTEST_")}
    printed = subprocess.run(
        command, capture_output=True, text=True, cwd=small_run.ROOT, env=environment, timeout=600
    )
    assert printed.returncode == 0, printed.stdout + printed.stderr
    counted = printed.stdout.splitlines()[-1]
    assert int(counted.split(" passed")[0].split()[-1]) >= 15, counted


@pytest.mark.slow
def test_there_are_sixty_of_them_at_least():
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "0", "-q", "--collect-only", "tests/gpu"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    printed = subprocess.run(command, capture_output=True, text=True, cwd=small_run.ROOT, env=environment)
    assert printed.returncode == 0, printed.stdout + printed.stderr
    assert sum("::" in line for line in printed.stdout.splitlines()) >= 60
