"""Other places of options, older forms of losses, and options of features that do not exist here."""

import json
import logging

import pytest

from traiNNer.options import aliases as option_names
from traiNNer.options import degradation_forms
from traiNNer.options.fields import DatasetOptions, LogOptions, Options, PathOptions, TrainOptions, ValOptions
from traiNNer.registry import ConfigError


def infos(options):
    return [note.text for note in options.notes if note.level == logging.INFO]


def problems(load, *args, **kwargs):
    with pytest.raises(ConfigError) as error:
        load(*args, **kwargs)
    return list(error.value.problems)


def test_losses_at_the_top_are_those_of_train_and_overrides_find_them(load):
    text = "losses:\n  - type: L1Loss\n  - {type: SSIMLoss, loss_weight: 2}\n"
    options = load(text, overrides=["train.losses.1.loss_weight=0.5", "losses.0.loss_weight=3"])
    assert options.train.losses == [
        {"type": "L1Loss", "loss_weight": 3},
        {"type": "SSIMLoss", "loss_weight": 0.5},
    ]
    assert options.origin(("train", "losses", 0, "type")) == "file line 6"
    assert options.origin(("train", "losses", 1, "loss_weight")) == "command line"


def test_loss_forms_of_older_trainers_become_entries_with_their_own_place(load):
    train = "pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}\nperceptual_opt: ~\n"
    options = load(train=train + "losses: [{type: MSELoss}]")
    assert options.train.losses == [{"type": "MSELoss"}, {"type": "L1Loss", "loss_weight": 1.0}]
    assert len(infos(options)) == 1 and "train.pixel_opt: an older form" in infos(options)[0]
    (line,) = problems(load, train=train + "mssim_opt: {loss_weight: 1}")
    assert line == "c.yml:7:3: train.mssim_opt.type: is required"


def test_older_names_of_paths_are_read(load):
    options = load("path: {pretrain_network_g_path: a.pth, strict_load: false}\n")
    assert options.path.pretrain_network_g == "a.pth" and options.path.strict_load_g is False
    options = load("path: {pretrain_model_g: a.pth}\nuse_amp: true\nbfloat16: true\ncompile: true\n")
    assert options.path.pretrain_network_g == "a.pth" and options.amp_bf16 and options.use_compile


def _harmless():
    for place, names in [(f.place, f.options) for f in option_names.FEATURES] + [
        *option_names.INTERNAL.items()
    ]:
        for name, value in names.items():
            yield pytest.param((*(key.replace("*", "val") for key in place), name), value, id=name)


@pytest.mark.parametrize(("path", "value"), list(_harmless()))
def test_an_option_of_a_missing_feature_is_silent_at_its_harmless_value(load, path, value):
    *section, name = path
    needed = [f"{'.'.join(section)}.type=Adam"] if section and section[-1].startswith("optim_") else []
    for harmless in (value, None):
        options = load(overrides=[*needed, f"{'.'.join(path)}={json.dumps(harmless)}"])
        assert not any(name in str(note) for note in options.notes)


REQUESTS = {
    "network_ae={type: x}": "network_ae",
    "onnx={opset: 20}": "onnx",
    "input_pixel_format=y": "input_pixel_format",
    "datasets.val.clip_size=5": "datasets.val.clip_size",
    "datasets.val.io_backend={type: lmdb}": "datasets.val.io_backend",
    "train.moa_debug=true": "train.moa_debug",
    "train.adaptive_d=true": "train.adaptive_d",
    "train.eco={enabled: true}": "train.eco",
    "train.ema_switch_iter=5": "train.ema_switch_iter",
    "path.pretrain_network_ae=x": "path.pretrain_network_ae",
}


@pytest.mark.parametrize("override", REQUESTS)
def test_asking_for_a_missing_feature_is_answered_not_supported_yet(load, override):
    instead = option_names.INSTEAD.get(REQUESTS[override].split(".")[-1])
    said = "not supported yet" + (f"; {instead}" if instead else "")
    assert problems(load, overrides=[override]) == [f"command line: {REQUESTS[override]}: {said}"]


def test_what_to_do_instead_is_said_of_features_that_are_missing():
    assert option_names.INSTEAD.keys() <= {
        key for feature in option_names.FEATURES for key in feature.options
    }


def test_settings_of_a_feature_that_is_switched_off_ask_for_nothing(load):
    load(
        "high_order_degradation: false\nblur_prob: 0.5\n",
        train="use_moa: false\nmoa_probs: [1]\nmoa_debug: false\nmoa_debug_limit: 5",
    )


def test_what_the_program_decides_is_ignored_with_a_note(load):
    options = load("rank: 3\ndist_params: {backend: gloo}\ndatasets: {val: {phase: val}}\n")
    assert sorted(infos(options)) == [
        "c.yml:5:1: rank: decided by the program; ignored",
        "c.yml:6:1: dist_params: decided by the program; ignored",
        "c.yml:7:18: datasets.val.phase: decided by the program; ignored",
    ]


def test_every_known_option_is_in_the_tree_or_in_the_tables(contract_root):
    known = {
        "top level": ((), Options),
        "datasets.*": (("datasets", "*"), DatasetOptions),
        "path.*": (("path",), PathOptions),
        "train.*": (("train",), TrainOptions),
        "val.*": (("val",), ValOptions),
        "logger.*": (("logger",), LogOptions),
    }
    section, missing = None, []
    for line in (contract_root / "known_options.md").read_text().splitlines():
        if line.startswith("#### "):
            section = known.get(line[5:].split(":")[0].split(" (")[0])
        elif line.startswith("| `") and section:
            place, model = section
            name = line.split("`")[1]
            tables = [{"scale"}] if len(place) == 2 else []  # that of a data set is compared with the run's
            tables += [f.options for f in option_names.FEATURES if f.place == place]
            tables += [names for key, names in option_names.INTERNAL.items() if key == place]
            moved = (
                (place == ("datasets", "*") and name in option_names.DATASET_NAMES)
                or (*place, name) in dict(option_names.MOVES)
                or name in option_names.LOSS_FORMS
            )
            moved |= place in ((), ("datasets", "*")) and name in degradation_forms.KNOWN
            if name not in model.model_fields and not moved and not any(name in t for t in tables):
                missing.append((*place, name))
    assert missing == []


@pytest.mark.parametrize(
    ("model", "gan_type", "said"),
    [("ESRGANModel", "vanilla", True), ("ESRGANModel", "ragan", False), ("SRGANModel", "vanilla", False)],
)
def test_the_relativistic_game_of_basicsr_s_esrgan_is_not_lost_silently(load, model, gan_type, said):
    options = load(f"model_type: {model}\n", train=f"gan_opt: {{type: GANLoss, gan_type: {gan_type}}}")
    assert any("gan_type: ragan" in note.text for note in options.notes) == said
    assert not any("ignored here" in note.text for note in options.notes)
