"""`trainner compare`: what differs, by how much for the same images, on a page that stands alone."""

import json
import math
import re
from pathlib import Path

import pytest
import small_run
from automations.simulate import validation
from scipy import stats

from traiNNer.cli import compare
from traiNNer.control import to_plain
from traiNNer.tracking.report.compare import comparison, paired_difference, read_run, t_point


def test_two_runs_lie_beside_each_other_on_one_page(tmp_path, capsys):
    small_run.write_data(tmp_path)
    for name, rate in (("slow", 1e-4), ("fast", 1e-2)):
        optim = {"type": "AdamW", "lr": rate}
        options = {**small_run.options(tmp_path, total_iter=8, optim_g=optim), "name": name}
        assert small_run.train(small_run.write_options(tmp_path, options)).returncode == 0
    runs = [str(tmp_path / "experiments" / name) for name in ("slow", "fast")]
    assert compare.main([*runs, "--out", str(tmp_path / "page/c.html")]) == 0
    page = (tmp_path / "page/c.html").read_text()
    assert "<tr><td>train.optim_g.lr<td>0.0001<td>0.01" in page
    settings = page.split("<h2>Scores")[0]
    assert "total_iter" not in settings  # is the same
    assert re.search(r"<td>psnr<td>[\d.]+<td>[\d.]+<td>(<b>)?[+-][\d.]+ &plusmn; [\d.]+ \(2 images\)", page)
    assert page.count('aria-label="val: psnr"') == 3  # by steps, samples and time
    assert page.count('class="slider"') == 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    capsys.readouterr()
    assert compare.main([runs[0], str(tmp_path)]) == 2
    assert compare.main([runs[0], runs[0]]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_runs_whose_validation_images_have_no_ground_truth_are_compared_by_what_there_is(tmp_path):
    small_run.write_data(tmp_path)
    runs = {}
    for name in ("bare", "bare_2", "mixed", "mixed_2"):
        options = {**small_run.options(tmp_path, total_iter=2, losses=[{"type": "L1Loss"}]), "name": name}
        whole = options["datasets"]["val"]
        options["datasets"]["val"] = {"name": "photos", "dataroot_lq": whole["dataroot_lq"]}
        if "mixed" in name:
            options["datasets"]["val_2"] = {"name": "pairs", **whole}
        options["val"] = {"val_freq": 2, "save_img": True}
        assert small_run.train(small_run.write_options(tmp_path, options)).returncode == 0
        runs[name] = str(tmp_path / "experiments" / name)

    def page(*names):
        out = tmp_path / "page.html"
        assert compare.main([*(runs[name] for name in names), "--out", str(out)]) == 0
        return out.read_text()

    assert "No run has been validated" in page("bare", "bare_2")
    scored = page("mixed", "mixed_2")
    assert re.search("<td>pairs<td>psnr", scored)
    assert "photos/" not in scored
    assert scored.count('class="slider"') == 2
    for one in (page("bare", "mixed"), page("mixed", "bare")):
        assert "pairs" in one


def test_the_interval_is_that_of_a_paired_t_test():
    first = {"a": 30.0, "b": 28.0, "c": 35.5, "d": 20.0, "e": math.nan, "f": 1.0}
    second = {"a": 30.5, "b": 28.1, "c": 35.9, "d": 20.9, "e": 5.0}
    found = paired_difference(first, second)
    kept = "abcd"
    low, high = stats.ttest_rel([second[k] for k in kept], [first[k] for k in kept]).confidence_interval()
    assert found.pairs == 4
    assert found.mean - found.half == pytest.approx(low, abs=0.01)
    assert found.mean + found.half == pytest.approx(high, abs=0.01)
    assert math.isnan(paired_difference({"a": 1.0}, {"a": 2.0}).half)
    assert math.isnan(paired_difference({"a": 1.0}, {"b": 2.0}).mean)
    for freedom in (1, 2, 3, 5, 10, 100):
        assert t_point(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_a_place_on_the_axes_comes_from_the_windows_of_the_run(tmp_path):
    lines = [
        f'{{"iter": {step}, "kind": "WindowEvent", "step": {step}, "position": {step * 4}, "seconds": 2.5}}\n'
        for step in (10, 20)
    ]
    Path(tmp_path, "events.jsonl").write_text("".join(lines))
    run = read_run(tmp_path, "<n>", {"a": {"b": [1, {"c": None}]}, "e": {}})
    assert run.settings == {"a.b.0": "1", "a.b.1.c": "None", "e": "{}"}
    assert [run.at(20, axis) for axis in ("steps", "samples", "seconds of training")] == [20, 80, 5.0]
    assert math.isnan(run.at(21, "samples"))
    assert "<h1>&lt;n&gt;</h1>" in comparison([run], [])


def test_the_best_of_a_run_under_way_is_the_validation_of_its_best_weights(tmp_path):
    events = [{"iter": k, "kind": "ValidationEvent", **to_plain(validation(k, [30.0]))} for k in (10, 20)]
    Path(tmp_path, "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert [read_run(tmp_path, "n", {}, kept).best_step for kept in (10, None)] == [10, 20]


def test_where_a_run_lies_is_no_setting_that_differs(tmp_path):
    told = [
        {"name": n, "auto_resume": n == "two", "path": {"log": n}, "scale": 2, "train": {"ema": n}}
        for n in ("one", "two")
    ]
    page = comparison([read_run(tmp_path, tree["name"], tree) for tree in told], [])
    assert page.count("<tr><td>") == 1
    assert "<tr><td>train.ema<td>one<td>two" in page
