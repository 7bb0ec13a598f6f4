"""A configuration written anew says the same, in today's form, with its author's comments."""

from pathlib import Path

import pytest
import yaml

from traiNNer.build.check import check_parts
from traiNNer.options import examine, load_options
from traiNNer.options.rewrite import rewritten, written_part

OLD = """\
# my run
name: old   # keep me
scale: 2
network_g: {type: paragonsr2_nano}
datasets:
  train:
    type: PairedImageDataset
    phase: train           # gone
    dataroot_gt: a
    dataroot_lq: b
path:
  strict_load: false
train:
  total_iter: 100
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
  # the automation
  early_stopping:
    enabled: true
    max_no_improvement: 50  # patience
"""


def again(path: Path, text: str, overrides=()):
    path.write_text(text)
    found = examine(path, overrides, check=check_parts)
    new = rewritten(text, written_part(found.tree, found.marks))
    path.write_text(new)
    return new


def test_what_is_rewritten_means_the_same_and_needs_no_change_any_more(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text(OLD)
    before = load_options(path, check=check_parts)
    new = again(path, OLD)
    after = load_options(path, check=check_parts)
    assert after == before
    assert before.notes
    assert not after.notes
    assert again(path, new) == new


def test_comments_order_and_form_of_what_stays_are_kept(tmp_path):
    new = again(tmp_path / "a.yml", OLD)
    for kept in ("# my run\n", "name: old   # keep me\n", "network_g: {type: paragonsr2_nano}\n"):
        assert kept in new
    assert "phase" not in new
    keys = list(yaml.safe_load(new))
    assert keys == [key for key in yaml.safe_load(OLD) if key in keys]


def test_nothing_that_the_program_adds_is_written(tmp_path):
    text = "name: a\nscale: 2\n"
    assert again(tmp_path / "a.yml", text) == text


def test_a_value_from_the_command_line_replaces_that_of_the_file(tmp_path):
    new = yaml.safe_load(again(tmp_path / "a.yml", OLD, ["train.total_iter=7", "manual_seed=3"]))
    assert (new["train"]["total_iter"], new["manual_seed"]) == (7, 3)


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_an_empty_file_stays_empty_of_options(text, tmp_path):
    assert yaml.safe_load(again(tmp_path / "a.yml", text)) in (None, {})


def test_every_recipe_is_in_todays_form():
    for recipe in sorted(Path("options").rglob("*.yml")):
        text = recipe.read_text()
        found = examine(recipe)
        assert not found.problems
        assert yaml.safe_load(rewritten(text, written_part(found.tree, found.marks))) == yaml.safe_load(text)
