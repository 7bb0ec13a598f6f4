"""The benchmark of degradations: its rebuilt defects are there, and its table takes differences seed by seed."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts/benchmarks"))
from benchmark_real_photographs import degrade_of, table

from traiNNer.data.degradations.draws import Draws
from traiNNer.data.purposes import Purpose


def ramps(arm):
    """Mean shift of the far end of a ramp, in LQ pixels, by chains of `arm`."""
    ramp = np.broadcast_to(np.linspace(20, 230, 256, dtype=np.float32)[:, None, None], (256, 256, 3))
    step, chain = 210 / 255 * 4, degrade_of(arm)
    made = (chain(np.ascontiguousarray(ramp), (64, 64), Draws(0, Purpose.TRAIN, p)) for p in range(40))
    rows = slice(52, 60)  # along the first axis the values rise
    clean = ramp[:, 0, 0].reshape(64, 4).mean(1)[rows]
    return np.mean([(lq[rows].mean((1, 2)) - clean).mean() / step for lq in made])


def test_misaligned_chains_move_the_far_end_of_a_picture_and_ours_do_not():
    assert abs(ramps("medium")) < 0.02
    assert ramps("medium, misaligned") < -0.04


def test_differences_are_those_of_one_seed():
    def run(arm, seed, psnr):
        scores = {name: {"psnr": psnr, "psnr_by_image": []} for name in ("clean", "weak", "medium", "strong")}
        return {"arm": arm, "seed": seed, "scores": scores}

    runs = [run("medium", 0, 25.5), run("medium", 1, 27.0), run("bicubic", 1, 26.0), run("bicubic", 0, 25.0)]
    last = table(runs).splitlines()[-1]
    assert last.startswith("| medium less bicubic | +0.500; +1.000 |")
