"""Scores that are no numbers decide nothing, and no file of a run holds a word that JSON does not have."""

import json
import math
import random

import cv2
import numpy as np
import pytest
import small_run
from automations.simulate import validation

from traiNNer.automations.validation_record import ValidationRecord, read_scores
from traiNNer.events import SetScores
from traiNNer.tracking.jsonl import read_records, strict_json
from traiNNer.training.state import Progress

WORDS = (math.nan, math.inf, -math.inf)


def strictly(text):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def scores(of, bicubic):
    return SetScores([str(i) for i in range(len(of))], [(8, 8)] * len(of), {"niqe": of}, {"niqe": bicubic})


def test_images_without_a_value_count_neither_for_the_network_nor_for_bicubic():
    rng = random.Random(5)
    for _ in range(300):
        pairs = [(rng.uniform(2, 9), rng.uniform(2, 9)) for _ in range(rng.randint(1, 6))]
        whole = scores(*map(list, zip(*pairs, strict=True)))
        holes = [(rng.choice(WORDS), rng.uniform(2, 9)) for _ in range(rng.randint(0, 3))]
        mixed = [*pairs, *(pair if rng.random() < 0.5 else pair[::-1] for pair in holes)]
        rng.shuffle(mixed)
        found = scores(*map(list, zip(*mixed, strict=True)))
        assert found.means == pytest.approx(whole.means)
        assert found.baseline_means == pytest.approx(whole.baseline_means)
        assert len(found.left_out("niqe")) == len(holes)


@pytest.mark.parametrize("value", WORDS)
def test_a_set_without_any_value_is_never_the_best(value):
    assert math.isnan(scores([value] * 2, [3.0, 4.0]).means["niqe"])
    progress = Progress(step=7)
    for score, best in ((value, None), (20.0, 20.0), (value, 20.0), (21.0, 21.0)):
        progress.take_score(score, higher_is_better=True, of="psnr")
        assert progress.best == best
    frozen = Progress(best=math.inf, best_of="psnr")  # of a state that the program wrote before
    assert frozen.take_score(30.0, higher_is_better=True, of="psnr") and frozen.best == 30.0


def test_scores_that_come_and_go_change_no_pairing():
    """An image whose score is missing now and then neither raises nor lowers what a record thinks of the rest."""
    rng = random.Random(3)
    plain, with_holes = ValidationRecord(), ValidationRecord()
    for k in range(1, 40):
        values = [28 + 0.05 * k + rng.gauss(0, 0.2) for _ in range(8)]
        for record, more in ((plain, []), (with_holes, [rng.choice(WORDS)])):
            event = validation(k, [*values, *more])
            record.add(read_scores(event, "psnr", higher_is_better=True), k, 0.01)
    assert plain.best == with_holes.best[:-1] and math.isnan(with_holes.best[-1])
    assert (plain.since, plain.below_since, plain.highest) == (
        with_holes.since,
        with_holes.below_since,
        with_holes.highest,
    )


def test_json_of_any_value_is_strict():
    rng = random.Random(1)

    def value(depth):
        kind = rng.randrange(4 if depth else 2)
        if kind == 0:
            return rng.choice([*WORDS, 1.5, 3, "a", None, True])
        if kind == 1:
            return rng.uniform(-1, 1)
        made = [value(depth - 1) for _ in range(3)]
        return made if kind == 2 else dict(zip("abc", made, strict=True))

    for _ in range(200):
        strictly(strict_json(value(3)))


def test_a_half_last_line_does_not_count(tmp_path):
    path = tmp_path / "events.jsonl"
    assert read_records(path) == []
    whole = "".join(json.dumps({"iter": k, "a": "ä"}, ensure_ascii=False) + "\n" for k in range(3)).encode()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        assert [r["iter"] for r in read_records(path)] == [*range(whole[:length].count(b"\n"))]


def test_a_run_with_a_black_frame_keeps_finite_scores_and_writes_strict_json(tmp_path):
    small_run.write_data(tmp_path)
    for part, side in (("HR", 256), ("LRx2", 128)):
        flat = np.zeros((side, side, 3), np.uint8)
        assert cv2.imwrite(str(tmp_path / "demo/val" / part / "black.png"), flat)
    tree = small_run.options(tmp_path, total_iter=16)
    tree["network_g"] = {"type": "compact", "num_feat": 4, "num_conv": 1}
    tree["val"] |= {"metrics": {"psnr": {}, "niqe": {}}}
    tree["datasets"]["val"] = {
        key: str(tmp_path / "demo/val" / part)
        for key, part in (("dataroot_gt", "HR"), ("dataroot_lq", "LRx2"))
    }
    for image in (tmp_path / "demo/val/HR").glob("*.png"):  # NIQE needs 192 x 96 pixels
        for path, side in ((image, 256), (tmp_path / "demo/val/LRx2" / image.name, 128)):
            pixels = cv2.resize(cv2.imread(str(path)), (side, side), interpolation=cv2.INTER_CUBIC)
            assert cv2.imwrite(str(path), pixels)
    done = small_run.train(small_run.write_options(tmp_path, tree))
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "experiments/small"
    assert done.stdout.count("1 of 3 images do not count in psnr, niqe") == 1
    for path in (*run.rglob("*.json"), *run.rglob("*.jsonl")):
        for text in [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines():
            strictly(text)
    best = strictly((run / "summary.json").read_text())["best"]
    assert 5 < best["value"] < 58.93
    last = [r for r in read_records(run / "metrics.jsonl") if r["kind"] == "val"][-1]
    assert all(isinstance(v, float) for v in (*last["metrics"].values(), *last["bicubic"].values()))
    assert best["value"] == pytest.approx(last["metrics"]["psnr"]) or best["iteration"] < 16
