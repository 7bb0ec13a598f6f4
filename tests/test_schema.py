"""The schema for editors: current, true of every recipe, and against what a run would refuse."""

import importlib.util
import json
from copy import deepcopy
from pathlib import Path

import jsonschema
import pytest

from traiNNer.options.yaml_source import read_yaml

ROOT = Path(__file__).parent.parent
FILE = ROOT / "schemas/traiNNer.schema.json"
RECIPES = sorted((ROOT / "options").rglob("*.yml"))


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_file_is_what_the_options_say():
    spec = importlib.util.spec_from_file_location("make_schema", ROOT / "scripts/docs/make_schema.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert FILE.read_text() == module.text(), "run python scripts/docs/make_schema.py"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_recipe_agrees_and_names_the_schema(recipe, validator):
    text = recipe.read_text()
    validator.validate(read_yaml(text, recipe.name).tree)
    named = text.split("$schema=")[1].split("\n")[0]
    assert (recipe.parent / named).resolve() == FILE


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("train", "total_itr"), 5),
        (("train", "total_iter"), 0),
        (("network_g", "padding"), "mirror"),
        (("datasets", "train", "cache"), "yes"),
        (("train", "training_automations"), {"AdaptiveGradientCliping": True}),
        (("train", "training_automations"), {"IntelligentEarlyStopping": {"patience": "long"}}),
        (("train", "losses"), [{"type": "HuberLoss", "delta": "big"}]),
        (("train", "scheduler"), {"type": "CosineAnnealingLR", "eta_min": "low"}),
    ],
    ids=lambda item: ".".join(item) if isinstance(item, tuple) else "",
)
def test_a_mistake_is_one_for_the_editor_too(place, value, validator):
    tree = deepcopy(read_yaml(RECIPES[0].read_text(), "recipe").tree)
    assert validator.is_valid(tree)
    section = tree
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    assert not validator.is_valid(tree)


def test_sections_and_options_are_described():
    schema = json.loads(FILE.read_text())
    described = schema["$defs"]["TrainOptions"]["properties"]
    assert all(option.get("description") for option in described.values())
