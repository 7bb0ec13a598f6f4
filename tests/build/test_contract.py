"""The configurations that users write today train, and warn of what deserves it."""

import json
import logging

import pytest
import small_run
import yaml

from traiNNer.build.session import Session
from traiNNer.runtime.signals import StopSignal

RANDOM = "vgg19: random weights (pretrained: false)"
STRICTER = "improvement_threshold: 0.002 differs from min_improvement: 0.001; the stricter of the two"
MISPLACED = "IntelligentLearningRateScheduler.target_vram_usage: ignored here; it belongs under "
NEVER = "IntelligentEarlyStopping: min_epochs 1000 exceeds the 67 planned epochs; it can never stop the run"
WARNINGS = {
    "": [STRICTER, NEVER],
    "guide_debug.fragment.yml": [STRICTER, NEVER],
    "guide_rtx3060.fragment.yml": [MISPLACED, STRICTER, NEVER],
    "analysis_old.fragment.yml": [STRICTER, NEVER],
    "analysis_recommended.fragment.yml": [STRICTER, NEVER],
    "clipping_explicit.fragment.yml": [STRICTER, NEVER],
    "clipping_autonomous.fragment.yml": [STRICTER, NEVER],
}
ALL = {
    "IntelligentLearningRateScheduler", "DynamicBatchSizeOptimizer", "AdaptiveGradientClipping",
    "IntelligentEarlyStopping", "GradientFlowStabilizer",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    small_run.write_data(path)
    return path


def merged(base, extra):
    for key, value in extra.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        base[key] = merged(base[key], value) if both else value
    return base


def configuration(contract_root, folder, fragment):
    """The guide with a fragment, on a network and data of seconds, with a VGG19 of random weights."""
    tree = yaml.safe_load((contract_root / "guide_full.yml").read_text())
    if fragment.startswith("clipping"):
        del tree["train"]["training_automations"]["AdaptiveGradientClipping"]
    if fragment:
        text = (contract_root / fragment).read_text()
        below = "`train:`" in text.splitlines()[0]
        merged(tree["train"] if below else tree, yaml.safe_load(text))
    demo = folder / "demo"
    for key, part in (("train", "train"), ("val", "val")):
        roots = {"dataroot_gt": str(demo / part / "HR"), "dataroot_lq": str(demo / part / "LRx2")}
        tree["datasets"][key] |= roots | {"num_worker_per_gpu": 0, "lq_size": 16, "gt_size": 32}
    tree["path"] = {"experiments_root": str(folder / "experiments")}
    tree["network_g"] = {"type": "compact", "num_feat": 4, "num_conv": 1}
    perceptual = tree["losses"][1]
    perceptual |= {"pretrained": False} | ({"layers": ["relu1_2"]} if fragment else {})  # the deep ones once
    tree["train"]["total_iter"] = 50
    tree["val"] |= {"val_freq": 25}
    tree["logger"] |= {"use_tb_logger": False, "print_freq": 10}
    return tree | {"name": fragment.split(".")[0] or "guide", "num_gpu": 0}


@pytest.mark.parametrize("fragment", WARNINGS)
def test_the_configurations_of_users_train_and_warn(contract_root, folder, monkeypatch, capsys, fragment):
    monkeypatch.setattr(logging.getLogger("traiNNer"), "propagate", True)  # put back what the session changes
    file = folder / f"{fragment or 'guide'}.yml"
    tree = configuration(contract_root, folder, fragment)
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    session = Session.prepare(file, [], check=False)
    try:
        assert session.train(StopSignal()) == 0
    finally:
        session.close()
    printed = capsys.readouterr().out
    warned = [line.partition("WARNING: ")[2] for line in printed.splitlines() if "WARNING: " in line]
    for expected in (*WARNINGS[fragment], RANDOM):
        assert sum(expected in line for line in warned) == 1, (expected, warned)
    assert len([line for line in warned if "datasets.train" not in line]) == len(WARNINGS[fragment]) + 1
    run = folder / "experiments" / tree["name"]
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["iterations"]) == ("completed", 50)
    old = {"DynamicLossScheduling"} if fragment == "analysis_old.fragment.yml" else set()
    assert summary["automations"] == dict.fromkeys(ALL | old, "active")
    decided = [json.loads(line) for line in (run / "decisions.jsonl").read_text().splitlines()]
    assert "AdaptiveGradientClipping" in {decision["automation"] for decision in decided}
    health = [json.loads(line) for line in (run / "health.jsonl").read_text().splitlines()]
    assert [(h["kind"], h["iter"]) for h in health] == [
        ("train", 10), ("train", 20), ("val", 25), ("train", 30), ("train", 40), ("train", 50), ("val", 50),
    ]  # fmt: skip
    assert "Diagnosis" in printed
    found = {row["quantity"]: row for row in summary["diagnosis"]}
    shares = [found[f"loss share {label}"]["value"] for label in ("l1", "perceptual")]
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) > 0.01
    assert found["residual_ratio"]["verdict"] != "unknown"


def test_every_fragment_is_trained(contract_root):
    assert {path.name for path in contract_root.glob("*.fragment.yml")} == WARNINGS.keys() - {""}


def test_the_guide_without_weights_says_where_they_belong(contract_root, folder, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # as without a network
    file = folder / "without_weights.yml"
    tree = configuration(contract_root, folder, "") | {"name": "without_weights"}
    tree["losses"][1]["pretrained"] = True
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    printed = small_run.train(file)
    assert printed.returncode == 2
    assert str(folder / "torch/hub/checkpoints/vgg19-dcbb9e9d.pth") in printed.stderr
    assert "weights: path" in printed.stderr
    assert "Traceback" not in printed.stderr
    assert not (folder / "experiments/without_weights").exists()
