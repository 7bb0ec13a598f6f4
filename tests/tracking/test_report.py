"""The report of a run: one page that needs nothing else, true to the records, whatever state they are in."""

import importlib.util
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest
import small_run
from automations.simulate import validation

from traiNNer.control import to_plain
from traiNNer.events import SetScores, TrialEvent
from traiNNer.tracking.report.charts import HEIGHT, WIDTH, line_chart
from traiNNer.tracking.report.html import page, read_records
from traiNNer.tracking.report.marks import Mark, legend, marks_of
from traiNNer.tracking.report.pictures import gains_of
from traiNNer.tracking.report.told import told


class Page(HTMLParser):
    """Fails on tags that do not close; collects what a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.images, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.fetched += [v for k, v in found.items() if k in ("src", "href") and not v.startswith("data:")]
        self.images += [v for k, v in found.items() if k == "src" and v.startswith("data:image/png")]

    def handle_data(self, data):
        self.text += data


def svg(figure):
    return ElementTree.fromstring(re.search(r"<svg.*</svg>", figure, re.S)[0])


def test_a_finished_run_leaves_a_page_with_its_curves_and_pictures(tmp_path):
    small_run.write_data(tmp_path)
    file = small_run.write_options(tmp_path, small_run.options(tmp_path))
    assert small_run.train(file, "val.val_freq=10").returncode == 0
    (report,) = tmp_path.rglob("report.html")
    shown = Page(report.read_text())
    assert shown.fetched == []
    assert len(shown.images) == 4  # two images, each before and after
    for word in (
        "completed",
        "val: psnr",
        "learning rate",
        "largest gain",
        "smallest gain",
        "Diagnosis",
        "num_feat: 4, num_conv: 1",
        "parameters",
        str(report.parent / "models/net_g_best.safetensors"),
        "torch:",
    ):
        assert word in shown.text or word in report.read_text(), word
    spec = importlib.util.spec_from_file_location("report", small_run.ROOT / "scripts/report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = report.read_text()
    report.unlink()
    assert module.main([str(report.parent)]) == 0
    assert report.read_text() == before
    assert module.main([str(tmp_path / "nothing")]) == 2
    add_a_worse_validation(report.parent / "events.jsonl")
    assert module.main([str(report.parent)]) == 0
    titles = [re.findall(r"\w+ gain over bicubic, [^<]*", text) for text in (before, report.read_text())]
    assert titles[0] == titles[1] and len(titles[0]) == 2  # those of the weights that the pictures are of


def add_a_worse_validation(events):
    """To the records of a run that has gone on, whose best weights stay those of before."""
    last = [json.loads(line) for line in events.read_text().splitlines() if '"ValidationEvent"' in line][-1]
    for scores in last["sets"].values():
        scores["metrics"] = {label: [v - 9 for v in values] for label, values in scores["metrics"].items()}
    with events.open("a") as file:
        file.write(json.dumps(last | {"step": last["step"] + 1}) + "\n")


def test_an_unfinished_run_with_half_a_line_and_infinite_values_has_a_page(tmp_path):
    good = {"iter": 10, "kind": "train", "loss": {"total": 0.5}, "lr": {"g": 1e-3}}
    bad = {"iter": 20, "kind": "train", "loss": {"total": "nan"}, "lr": {"g": 1e-3}}
    lines = [json.dumps(record) for record in (good, bad, good | {"iter": 30})]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"iter": 40, "ki')
    text = page(read_records(tmp_path), [])
    assert "has not ended" in text
    assert page(read_records(tmp_path / "empty"), []).count("<svg") == 0


@pytest.mark.parametrize(("higher", "best"), [(True, "a"), (False, "b")])
def test_the_largest_gain_is_that_of_the_image_that_is_better(higher, best):
    scores = SetScores(["a", "b"], [(8, 8)] * 2, {"m": [0.5, 0.1]}, {"m": [0.4, 0.4]})
    metric, gains = gains_of(scores, {"m": higher})
    assert metric == "m" and max(gains, key=gains.__getitem__) == best
    assert gains[best] > 0 > min(gains.values())


def test_the_events_of_a_run_under_way_tell_of_its_last_whole_validation(tmp_path):
    lines = [
        json.dumps({"iter": step, "kind": type(event).__name__, **to_plain(event)}) + "\n"
        for step, event in (
            (1, validation(1, [30.0])),
            (2, TrialEvent(2, 16, [], [])),
            (3, validation(3, [31.0])),
        )
    ]
    events = tmp_path / "events.jsonl"
    assert told(events) == ({}, [])
    events.write_text("".join(lines) + lines[-1][:-9].replace("31", "32"))
    scores, trials = told(events)
    assert scores["val"].means == {"psnr": 31.0} and [trial["step"] for trial in trials] == [2]


def test_text_from_a_run_cannot_become_markup(tmp_path):
    decision = {
        "iter": 1,
        "automation": "<b>",
        "parameter": "p",
        "old": "<i>",
        "new": 2,
        "reason": "a<script>b",
    }
    (tmp_path / "decisions.jsonl").write_text(json.dumps(decision) + "\n")
    (tmp_path / "resolved.yml").write_text("name: <u>\n")
    text = page(read_records(tmp_path), [])
    assert "a&lt;script&gt;b" in text
    assert not any(tag in text for tag in ("<b>", "<i>", "<u>", "a<script>"))


def decided(
    at, automation="AdaptiveGradientClipping", parameter="grad_clip_threshold", old=1.0, new=1.1, why="why"
):
    """A line of decisions.jsonl."""
    of = {"iter": at, "automation": automation, "parameter": parameter}
    return {**of, "old": old, "new": new, "reason": why, "applied": True}


def with_marks(*decisions):
    return svg(line_chart("a", {"s": [(0, 1.0), (1000, 3.0)]}, marks=marks_of(decisions)))


def lines_and_ticks(drawing):
    lines = [line for line in drawing.iter("line") if (line.get("class") or "").startswith("mark")]
    return lines, [tick for tick in drawing.iter("rect") if tick.get("class") == "tick"]


def test_points_are_drawn_where_they_belong():
    figure = line_chart(
        "a", {"s": [(0, 1.0), (50, float("nan")), (100, 3.0)]}, marks=[Mark(50, "half way", "x", True)]
    )
    drawing = svg(figure)
    (x0, y0), (x1, y1) = (map(float, p.split(",")) for p in drawing.find(".//polyline").get("points").split())
    assert 0 <= x0 < x1 <= WIDTH
    assert HEIGHT >= y0 > y1 >= 0
    ((mark,), ticks) = lines_and_ticks(drawing)
    assert float(mark.get("x1")) == (x0 + x1) / 2
    assert mark.find("title").text == "half way" and not ticks


INTERVENTIONS = [
    decided(500, "IntelligentLearningRateScheduler", "lr_factor", 1.0, 0.8),
    decided(500, "IntelligentEarlyStopping", "stop", "running", "patience"),
    decided(500, "GradientFlowStabilizer", "grad_clip_threshold", "", "x0.5"),
    decided(500, old=1.0, new=0.5, why="a request (factor 0.5); target 1"),
    decided(
        500, "DynamicBatchSizeOptimizer", "micro_batch", 8, 4, "out of memory (micro-batch 8 did not fit)"
    ),
]
ADJUSTMENTS = [
    decided(500),
    decided(500, "IntelligentLearningRateScheduler", "lr_factor", 1.0, 1.1),
    decided(500, "IntelligentLearningRateScheduler", "trial", "go on", "return"),
    decided(500, "DynamicLossScheduling", "loss_factor", 1.0, 0.5),
    decided(500, "DynamicBatchSizeOptimizer", "batch", 8, 12, "low VRAM usage"),
]


def test_interventions_are_lines_and_adjustments_ticks_below_the_curves():
    for decision in INTERVENTIONS:
        lines, ticks = lines_and_ticks(with_marks(decision))
        assert (len(lines), len(ticks)) == (1, 0), decision
    for decision in ADJUSTMENTS:
        lines, (tick,) = lines_and_ticks(with_marks(decision))
        assert not lines and float(tick.get("y")) >= HEIGHT, decision


def test_marks_near_each_other_are_one_and_every_decision_counts():
    many = [decided(1 + k, why=f"why {k}") for k in range(999)]
    _, (tick,) = lines_and_ticks(with_marks(*many))
    assert float(tick.get("width")) > 0.8 * WIDTH
    assert "why 0" in tick.find("title").text and tick.find("title").text.endswith("and 994 more")
    _, ticks = lines_and_ticks(with_marks(*(decided(at) for at in range(100, 1000, 100))))
    assert len(ticks) == 9


def test_every_automation_has_one_colour_and_a_key_that_counts():
    marks = marks_of([*INTERVENTIONS, *ADJUSTMENTS, *ADJUSTMENTS])
    text, drawing = legend(marks), with_marks(*INTERVENTIONS, *ADJUSTMENTS)
    keys = dict(re.findall(r'background:(#\w+)"></i>(\w+)', text))
    assert len(keys) == 6  # none twice
    used = {m.get("stroke") or m.get("fill") for kind in lines_and_ticks(drawing) for m in kind}
    assert used == keys.keys()
    assert "IntelligentLearningRateScheduler: 1 intervention, 4 adjustments<" in text
    assert legend([]) == ""


def test_a_logarithmic_axis_spaces_decades_equally_and_skips_what_it_cannot_show():
    drawing = svg(line_chart("a", {"s": [(0, 1e-3), (1, 1e-2), (2, 1e-1), (3, 0.0)]}, log=True))
    heights = [float(p.split(",")[1]) for p in drawing.find(".//polyline").get("points").split()]
    assert len(heights) == 3
    assert abs((heights[0] - heights[1]) - (heights[1] - heights[2])) < 0.2


def test_constant_single_and_missing_values_make_a_chart_or_none():
    assert line_chart("a", {"s": [(5, 2.0)]}).count("<circle") == 1
    assert line_chart("a", {"s": [(0, 0.0), (1, 0.0)]}).count("<polyline") == 1
    assert line_chart("a", {"s": [(0, 7.0), (1, 7.0)]}, log=True).count("<polyline") == 1
    assert line_chart("a", {"s": [], "t": [(0, float("inf"))]}) == ""


def test_labels_of_an_axis_tell_its_ticks_apart_and_say_where_they_are():
    for low, high in ((0.898512, 0.898537), (31.89, 31.92), (1e-5, 3e-5), (0.0, 120_000.0)):
        drawing = svg(line_chart("a", {"s": [(0, low), (1, high)]}))
        labels = [text.text for text in drawing.iter("text") if text.get("text-anchor") == "end"]
        ticks = [float(label.replace(",", "")) for label in labels]
        assert not any("e+" in label for label in labels)
        steps = [b - a for a, b in pairwise(ticks)]
        assert len(set(labels)) == len(labels) > 1
        assert steps == pytest.approx([steps[0]] * len(steps), rel=0.03)


def test_what_was_not_measured_and_what_no_automation_did_are_no_cells_of_a_page(tmp_path):
    found = {"quantity": "norm trend", "value": None, "healthy": "", "verdict": "unknown", "advice": ""}
    row = {"automation": "A", "watched": "w", "did": "nothing", "would_have_done": ""}
    ended = {"status": "completed", "reason": "", "best": {}, "seconds": 1.0, "iterations": 1, "samples": 1}
    for would in ("", "cut the rate"):
        parts = {"diagnosis": [found], "automation_table": [row | {"would_have_done": would}]}
        summary = ended | parts
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        text = page(read_records(tmp_path), [])
        assert "<td>norm trend<td>not measured<td>" in text
        assert ("would have done" in text) == bool(would)


def test_a_long_series_is_thinned_and_keeps_its_end():
    drawing = svg(line_chart("a", {"s": [(k, k % 7) for k in range(100_000)]}))
    points = drawing.find(".//polyline").get("points").split()
    assert len(points) < 1000
    assert float(points[-1].split(",")[0]) > WIDTH - 27
