"""docs/losses.md names every loss and every option, and no others."""

import re
from pathlib import Path

import yaml

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


def test_the_example_is_one():
    example = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    for loss in example["train"]["losses"]:
        loss.pop("loss_weight", None)
        assert LOSSES.check(loss) == []
    for label in example["val"]["metrics"]:
        assert METRICS.check({"type": label}) == []
