"""docs/losses.md names every loss and every option, and no others."""

import re
from pathlib import Path

import yaml

from traiNNer.archs import NETWORKS
from traiNNer.losses import LOSSES
from traiNNer.metrics import METRICS

PAGE = (Path(__file__).resolve().parents[2] / "docs/losses.md").read_text()
OPTIONS = PAGE.partition("## Options")[2].partition("\n## ")[0]


def test_every_loss_has_its_row():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == LOSSES.names()


def test_every_option_is_named_at_its_loss():
    items = re.split(r"\n- |\. (?=`\w+Loss`:)", OPTIONS)
    for name in LOSSES.names():
        (item,) = [item for item in items if f"`{name}`" in item.partition(":")[0]]
        assert [option for option in LOSSES.parameters(name) if f"`{option}`" not in item] == [], name


def test_the_examples_are_some():
    examples = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    losses = [loss for example in examples for loss in example["train"]["losses"]]
    labels = [label for example in examples for label in example.get("val", {}).get("metrics", {})]
    networks = [example["network_d"] for example in examples if "network_d" in example]
    assert losses and labels and networks
    for loss in losses:
        for option in ("loss_weight", "target"):  # of every loss
            loss.pop(option, None)
        assert LOSSES.check(loss) == []
    for label in labels:
        assert METRICS.check({"type": label}) == []
    for network in networks:
        assert NETWORKS.check(network) == []
