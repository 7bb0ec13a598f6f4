"""traiNNer-redux's 390 training templates: how many are read whole, and what the others are refused for."""

import re

import pytest

from traiNNer.build.check import check_parts, idle_parts
from traiNNer.options import examine

FOREIGN = re.compile(r"network_[gd]\.type: the network '\w+' of other trainers does not exist here")
EXCUSED = (
    "no data set named 'pairedvideodataset'",  # networks of video, which do not exist here either
    "clip_size: not supported yet",
    "train.scheduler.milestones: should rise",  # a milestone of MAN's templates lacks a zero
)
"""What a template may be refused for besides its network."""


def problems(folder, step):
    files = sorted((folder / "redux").rglob("*.yml"))
    assert len(files) == 390
    return {path.stem: examine(path, check=check_parts).problems for path in files[::step]}


def others(found):
    lines = [line for lines in found.values() for line in lines]
    return [line for line in lines if not FOREIGN.search(line) and not any(text in line for text in EXCUSED)]


def test_templates_are_refused_for_nothing_but_their_generator_and_data(contract_root):
    found = problems(contract_root, 24)
    assert others(found) == []
    assert sum(not lines for lines in found.values()) >= 8


@pytest.mark.slow
def test_how_many_of_the_templates_are_read_whole(contract_root):
    found = problems(contract_root, 1)
    assert others(found) == []
    assert sum(not lines for lines in found.values()) >= 236


def test_what_is_left_out_of_a_template_is_named(contract_root):
    examined = examine(contract_root / "redux/ATD/ATD_gan.yml", check=check_parts)
    assert not examined.problems
    assert [part.path for part in idle_parts(examined.tree)] == [("val", "metrics", "topiq")]


def test_a_loss_that_does_not_exist_is_left_out_where_its_weight_is_zero():
    raw = {"train": {"losses": [{"type": "topiqloss", "loss_weight": 0}, {"type": "topiqloss"}]}}
    assert [part.path for part in idle_parts(raw)] == [("train", "losses", 0)]
    wrong = [problem.path for problem in check_parts(raw) if problem.path[:2] == ("train", "losses")]
    assert wrong == [("train", "losses", 1, "type")]


def test_a_name_that_means_something_else_elsewhere_is_refused():
    raw = {"train": {"losses": [{"type": "consistency_loss", "loss_weight": 1.0}]}}
    (said,) = [p.message for p in check_parts(raw) if p.path[:2] == ("train", "losses")]
    assert "LQConsistencyLoss" in said
