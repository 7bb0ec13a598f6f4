"""The benchmark of quality for a time: what each recipe changes is one thing, and gains are those of one seed."""

import sys
from pathlib import Path

from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts/benchmarks"))
from benchmark_quality import ARMS, recipe, table

from traiNNer.tracking.jsonl import leaves

TEMPLATE = """
datasets: {train: {type: pairedimagedataset, lq_size: 96, batch_size_per_gpu: 16}}
train:
  optim_g: {type: AdamW, lr: 2.0e-4}
  scheduler: {type: MultiStepLR, milestones: [200, 400], gamma: 0.5}
  total_iter: 800
  losses: [{type: charbonnierloss}]
"""


def test_each_recipe_changes_the_one_before_in_what_its_name_says():
    template = YAML(typ="safe").load(TEMPLATE)
    trees = [dict(leaves(recipe(template, arm, {"type": "compact"}, 1000))) for arm in ARMS]
    changed = [
        {path[:2] for path in one.keys() | two.keys() if one.get(path) != two.get(path)}
        for one, two in zip(trees, trees[1:], strict=False)
    ]
    learning = {"optim_g", "scheduler", "warmup_iter", "grad_clip", "grad_clip_max_norm"}
    assert changed == [
        {("datasets", "train")},
        {("train", key) for key in learning},
        {("network_g", "linear_start")},
        {("train", "losses")},
        {("train", "losses")},
        {("train", "optim_g")},
        {("train", "losses")},
    ]
    assert trees[0]["train", "scheduler", "milestones", 0] == 250


def test_gains_are_over_the_recipe_above_and_of_one_seed():
    def run(arm, seed, psnr):
        scores = {"Set5": {"psnr": psnr}, "Set14": {"psnr": psnr - 4}}
        fixed = {"network": "compact", "minutes": 5, "steps": 10, "seconds": 300}
        return {**fixed, "recipe": ARMS[arm], "seed": seed, "scores": scores}

    rows = table([run(1, 0, 36.0), run(1, 1, 36.2), run(3, 1, 36.5)]).splitlines()[2:]
    assert [row.split(" | ")[5:] for row in rows] == [
        ["36.00, 36.20", "32.00, 32.20", "", "", "nan, nan", "nan, nan |"],
        ["36.50", "32.50", "+0.30", "+0.30", "nan", "nan |"],
    ]
