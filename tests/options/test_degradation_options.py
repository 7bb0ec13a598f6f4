"""Options of the degradation chain: where they may be written, their ranges, and that each does what it says."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from traiNNer.build.degradation import chain_options
from traiNNer.options import load_options
from traiNNer.options.degradation import PRESETS, DegradationOptions
from traiNNer.registry import ConfigError

sys.path.insert(0, str(Path(__file__).parents[1] / "data/degradations"))
from chains import OFF, chain, draws, picture, traced

SET = {"type": "RealESRGANDataset", "dataroot_gt": "hr"}
BASE = {
    "name": "x", "scale": 4, "datasets": {"train": SET}, "network_g": {"type": "compact"},
    "train": {"total_iter": 10},
}  # fmt: skip


def read(tmp_path, *, train=None, **top):
    tree = {**BASE, "datasets": {"train": {**SET, **(train or {})}}} | top
    file = tmp_path / "x.yml"
    file.write_text(yaml.safe_dump(tree))
    return load_options(file)


def problems(tmp_path, **places):
    with pytest.raises(ConfigError) as error:
        read(tmp_path, **places)
    return "\n".join(error.value.problems)


def test_all_places_mean_the_same(tmp_path):
    values = {"jpeg_range": [40, 60], "second_blur_prob": 0.25, "kernel_range": [7, 15]}
    section = {**values, "preset": "realesrgan"}
    expected = read(tmp_path, degradation=section).degradation
    assert (expected.jpeg_range, expected.blur_prob2, expected.kernel_range) == ([40, 60], 0.25, [7, 15])
    assert read(tmp_path, **values).degradation == expected
    assert read(tmp_path, train=values).degradation == expected
    assert read(tmp_path, degradations=values).degradation == expected


def test_the_switch_of_redux_takes_its_defaults(tmp_path):
    options = read(tmp_path, high_order_degradation=True, jpeg_prob=0.5).degradation
    assert options.preset == "redux" and options.jpeg_range == [75, 95] and options.jpeg_prob == 0.5


def test_without_a_word_the_preset_is_medium(tmp_path):
    assert read(tmp_path).degradation.preset == "medium"
    assert read(tmp_path, degradation="weak").degradation.preset == "weak"


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_fill_in_what_is_not_given(tmp_path, preset):
    options = read(tmp_path, degradation={"preset": preset, "gray_noise_prob": 0.123}).degradation
    assert options == DegradationOptions(**{**PRESETS[preset], "preset": preset, "gray_noise_prob": 0.123})


def test_switched_off_they_ask_for_nothing(tmp_path):
    paired = {"type": "PairedImageDataset", "dataroot_lq": "lr"}
    assert read(tmp_path, train=paired, high_order_degradation=False, jpeg_range=[1, 2]).degradation is None


def test_switched_off_given_pairs_remain_and_the_sharp_ground_truth_of_losses(tmp_path):
    paired = {"type": "RealESRGANPairedDataset", "dataroot_lq": "lr"}
    options = read(tmp_path, train=paired, high_order_degradation=False, jpeg_range=[1, 2], l1_gt_usm=True)
    assert options.datasets["train"].type == "PairedImageDataset"
    assert options.degradation == DegradationOptions(l1_gt_usm=True)
    assert "read as PairedImageDataset" in options.notes[0].text
    plain = read(tmp_path, train={"type": "PairedImageDataset"}, degradation={"gan_gt_usm": True})
    assert not plain.notes and plain.degradation.gan_gt_usm


def test_a_chain_that_no_set_uses_is_said(tmp_path):
    options = read(tmp_path, train={"type": "PairedImageDataset"}, degradation={"preset": "weak"})
    assert any("no data set is a RealESRGANDataset" in note.text for note in options.notes)
    (tmp_path / "x.yml").write_text("name: x\nscale: 2\n")
    (note,) = load_options(tmp_path / "x.yml", ["blur_prob=0.2"]).notes
    assert note.text.startswith("command line: blur_prob: has no effect")


def test_options_of_the_chain_in_a_validation_set_are_said_to_be_ignored(tmp_path):
    sets = {"train": SET, "val": {**SET, "sinc_prob": 0.4}}
    options = read(tmp_path, datasets=sets)
    assert options.degradation.sinc_prob == PRESETS["medium"]["sinc_prob"]
    assert any("datasets.val.sinc_prob: ignored" in note.text for note in options.notes)


@pytest.mark.parametrize("key", ["queue_size", "high_order_degradations_debug"])
def test_what_has_no_effect_is_accepted_with_a_note(tmp_path, key):
    options = read(tmp_path, **{key: 180})
    assert any(f"{key}: " in note.text for note in options.notes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jpeg_range": [30, 101]}, "less than or equal to 100"),
        ({"jpeg_range": [95, 30]}, "[smallest, largest]"),
        ({"jpeg_range": [95]}, "at least 2 items"),
        ({"blur_prob": 1.2}, "less than or equal to 1"),
        ({"noise_range": [-1, 3]}, "greater than or equal to 0"),
        ({"resize_range": [0, 1]}, "greater than 0"),
        ({"kernel_list": ["round"], "kernel_prob": [1]}, "'iso'"),
        ({"kernel_list": ["iso"]}, "a number for each of kernel_list"),
        ({"resize_mode_prob": [0, 0, 0]}, "not all be 0"),
        ({"resize_prob2": [0, 0, 0]}, "not all be 0"),
        ({"resize_prob": [1, 1]}, "at least 3 items"),
        ({"jpeg_rnage": [30, 95]}, "did you mean 'jpeg_range'"),
        ({"preset": "heavy"}, "'weak'"),
    ],
)
def test_wrong_values_are_named(tmp_path, values, message):
    found = problems(tmp_path, degradation=values)
    assert f"degradation.{next(iter(values)).replace('kernel_list', 'kernel_')}" in found or "kernel" in found
    assert message in found


# --- every option does what it says ------------------------------------------------------------------------


ON = {
    "blur_1": {"blur_prob": 1}, "blur_2": {"blur_prob2": 1}, "resize_1": {"resize_prob": [1, 1, 1]},
    "resize_2": {"resize_prob2": [1, 1, 1]}, "sinc": {"final_sinc_prob": 1},
    "noise_1": {"noise_range": [1, 30], "poisson_scale_range": [0.05, 3]},
    "noise_2": {"noise_range2": [1, 30], "poisson_scale_range2": [0.05, 3]},
    "compression_1": {"jpeg_prob": 1}, "compression_2": {"jpeg_prob2": 1}, "final": {}, "halo": {}, "dither": {},
    "usm": {},
}  # fmt: skip
"""One stage alone."""


WITHIN = [
    ("blur_1", "sigma", "blur_sigma", [1.0, 1.4], {"kernel_list": ["iso"], "kernel_prob": [1], "sinc_prob": 0}),
    ("blur_2", "sigma", "blur_sigma2", [1.0, 1.4],
     {"kernel_list2": ["iso"], "kernel_prob2": [1], "sinc_prob2": 0, "blur_prob2": 1}),
    ("blur_1", "size", "kernel_range", [9, 13], {}),
    ("blur_2", "size", "kernel_range2", [9, 13], {"blur_prob2": 1}),
    ("blur_1", "size", "blur_kernel_size", 9, {}),
    ("blur_2", "size", "blur_kernel_size2", 9, {"blur_prob2": 1}),
    ("blur_1", "beta", "betag_range", [0.9, 1.3],
     {"kernel_list": ["generalized_iso"], "kernel_prob": [1], "sinc_prob": 0}),
    ("blur_2", "beta", "betag_range2", [0.9, 1.3],
     {"kernel_list2": ["generalized_iso"], "kernel_prob2": [1], "sinc_prob2": 0, "blur_prob2": 1}),
    ("blur_1", "beta", "betap_range", [0.9, 1.3],
     {"kernel_list": ["plateau_iso"], "kernel_prob": [1], "sinc_prob": 0}),
    ("blur_2", "beta", "betap_range2", [0.9, 1.3],
     {"kernel_list2": ["plateau_iso"], "kernel_prob2": [1], "sinc_prob2": 0, "blur_prob2": 1}),
    ("resize_1", "factor", "resize_range", [0.6, 0.9], {"resize_prob": [0, 1, 0]}),
    ("resize_2", "factor", "resize_range2", [1.1, 1.2], {"resize_prob2": [1, 0, 0]}),
    ("noise_1", "sigma", "noise_range", [3, 5], {"gaussian_noise_prob": 1}),
    ("noise_2", "sigma", "noise_range2", [3, 5], {"gaussian_noise_prob2": 1}),
    ("noise_1", "scale", "poisson_scale_range", [1, 1.5], {"gaussian_noise_prob": 0}),
    ("noise_2", "scale", "poisson_scale_range2", [1, 1.5], {"gaussian_noise_prob2": 0}),
    ("compression_1", "quality", "jpeg_range", [50, 60], {}),
    ("compression_2", "quality", "jpeg_range2", [50, 60], {}),
    ("compression_1", "quality", "webp_range", [50, 60], {"webp_prob": 1}),
    ("compression_2", "quality", "webp_range2", [50, 60], {"webp_prob2": 1}),
    ("sinc", "size", "final_kernel_range", [9, 13], {"final_sinc_prob": 1}),
    ("halo", "amount", "halo_amount_range", [0.5, 0.8], {"halo_prob": 1}),
    ("halo", "sigma", "halo_sigma_range", [0.9, 1.2], {"halo_prob": 1}),
    ("dither", "levels", "dither_levels_range", [8, 12], {"dither_prob": 1}),
    ("usm", "radius", "lq_usm_radius_range", [3, 9], {"lq_usm": True}),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "key", "option", "value", "more"), WITHIN, ids=[row[2] for row in WITHIN])
def test_ranges_are_what_is_drawn_from(stage, key, option, value, more):
    made = chain(**{**OFF, **ON[stage], **more, option: value})
    drawn = [dict(traced(made, position, 32))[stage][key] for position in range(25)]
    low, high = value if isinstance(value, list) else (7, value)
    assert low <= min(drawn) and max(drawn) <= high
    assert max(drawn) - min(drawn) >= 0.6 * (high - low)


SHARES = [
    ("blur_prob", "blur_1", {}),
    ("blur_prob2", "blur_2", {}),
    ("jpeg_prob", "compression_1", {}),
    ("jpeg_prob2", "compression_2", {}),
    ("final_sinc_prob", "sinc", {}),
    ("halo_prob", "halo", {}),
    ("chroma_prob", "chroma", {}),
    ("dither_prob", "dither", {}),
    ("thicklines_prob", "lines", {}),
]


@pytest.mark.parametrize(("option", "stage", "more"), SHARES, ids=[row[0] for row in SHARES])
def test_shares_are_shares_of_the_samples(option, stage, more):
    made = chain(**{**OFF, option: 0.3, **more})
    hits = sum(stage in dict(traced(made, position, 32)) for position in range(300))
    assert 60 < hits < 120


KINDS = [
    ("sinc_prob", 0.4, "blur_1", "kernel", "sinc", {}),
    ("sinc_prob2", 0.4, "blur_2", "kernel", "sinc", {"blur_prob2": 1}),
    ("gaussian_noise_prob", 0.4, "noise_1", "noise", "gaussian", {}),
    ("gaussian_noise_prob2", 0.4, "noise_2", "noise", "gaussian", {}),
    ("gray_noise_prob", 0.4, "noise_1", "gray", True, {}),
    ("gray_noise_prob2", 0.4, "noise_2", "gray", True, {}),
    ("webp_prob", 0.4, "compression_1", "format", "webp", {}),
    ("webp_prob2", 0.4, "compression_2", "format", "webp", {}),
    ("kernel_prob", [2, 3], "blur_1", "kernel", "aniso", {"kernel_list": ["aniso", "iso"], "sinc_prob": 0}),
    ("kernel_prob2", [2, 3], "blur_2", "kernel", "aniso",
     {"kernel_list2": ["aniso", "iso"], "sinc_prob2": 0, "blur_prob2": 1}),
    ("resize_mode_prob", [2, 3], "resize_1", "mode", "lanczos", {"resize_mode_list": ["lanczos", "area"]}),
    ("resize_mode_prob2", [2, 3], "resize_2", "mode", "lanczos", {"resize_mode_list2": ["lanczos", "area"]}),
    ("resize_mode_prob3", [2, 3], "final", "mode", "lanczos", {"resize_mode_list3": ["lanczos", "area"]}),
    ("correlated_noise_prob", 0.4, "noise_1", "correlated", True,
     {"gaussian_noise_prob": 1, "gray_noise_prob": 0}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value", "stage", "key", "kind", "more"), KINDS, ids=[row[0] for row in KINDS]
)
def test_kinds_come_as_often_as_said(option, value, stage, key, kind, more):
    made = chain(**{**OFF, **ON[stage], **more, option: value})
    hits = sum(dict(traced(made, position, 32))[stage].get(key) == kind for position in range(150))
    assert 42 < hits < 78


def test_resizing_goes_up_and_down_as_often_as_said():
    for number, stage in (("", "resize_1"), ("2", "resize_2")):
        made = chain(**{**OFF, f"resize_prob{number}": [1, 2, 1]})
        factors = np.array([dict(traced(made, position, 32))[stage]["factor"] for position in range(200)])
        assert 30 < (factors > 1).sum() < 70 and 75 < (factors < 1).sum() < 125


CHANGES = {
    "p_clean": 1.0, "shuffle_prob": 1.0, "gt_usm": True, "poisson_levels": "content", "noise_keeps_mean": False,
    "jpeg_chroma_list": ["444"], "chroma_list": ["410"], "dither_list": ["noise"], "lq_usm": True,
}  # fmt: skip
NEEDS = {
    "chroma_list": {"chroma_prob": 1, "jpeg_prob2": 0}, "dither_list": {"dither_prob": 1, "jpeg_prob2": 0},
    "poisson_levels": {**OFF, "gaussian_noise_prob": 0, "poisson_scale_range": [1, 2]},
}  # fmt: skip


@pytest.mark.parametrize("option", CHANGES)
def test_the_other_options_change_samples(option):
    more = NEEDS.get(option, {})
    before, after = chain(**more), chain(**more, **{option: CHANGES[option]})
    image = np.round(picture(96) / 100) * 100  # few levels
    pairs = [[made(image, (24, 24), draws(p)) for made in (before, after)] for p in range(8)]
    assert any(not np.array_equal(*pair) for pair in pairs)


def test_video_options():
    pytest.importorskip("av")
    made = chain(video_prob=0.5, video_codec_list=["mpeg4", "h264"], video_quality_range=[0.2, 0.4])
    found = [dict(traced(made, position, 64))["compression_2"] for position in range(40)]
    films = [p for p in found if p["format"] != "jpeg"]
    assert 10 < len(films) < 30 and {p["format"] for p in films} == {"mpeg4", "h264"}
    assert all(0.2 <= p["quality"] <= 0.4 for p in films)


def test_every_option_is_tested_here():
    lists = {key for _, _, _, _, _, more in KINDS for key in more if key.endswith(("list", "list2", "list3"))}
    tested = {row[2] for row in WITHIN} | {row[0] for row in SHARES + KINDS} | CHANGES.keys() | lists
    tested |= {
        "resize_prob",
        "resize_prob2",
        "video_prob",
        "video_codec_list",
        "video_quality_range",
        "preset",
    }
    tested |= {"l1_gt_usm", "percep_gt_usm", "gan_gt_usm"}  # in tests/build/test_sharp_targets.py
    tested |= {"dataroot_lq_prob"}  # in tests/data/test_degraded_dataset.py
    assert tested == DegradationOptions.model_fields.keys()


def test_a_validation_set_has_a_preset_of_its_own(tmp_path):
    weak = {**SET, "degradation_preset": "weak"}
    sets = {"train": SET, "val": SET, "val_weak": weak}
    options = read(tmp_path, degradation={"preset": "strong"}, datasets=sets)
    strengths = [chain_options(options, options.datasets[key]).jpeg_range2 for key in ("val", "val_weak")]
    assert strengths == [PRESETS["strong"]["jpeg_range2"], PRESETS["weak"]["jpeg_range2"]]


def test_a_preset_of_a_set_that_it_does_not_degrade_is_refused(tmp_path):
    weak = {**SET, "degradation_preset": "weak"}
    said = problems(tmp_path, datasets={"train": weak, "val": {**weak, "type": "SingleGtDataset"}})
    assert "datasets.train.degradation_preset" in said and "datasets.val.degradation_preset" in said


def test_options_that_change_nothing_are_said(tmp_path):
    options = read(tmp_path, degradation={"preset": "weak", "halo_sigma_range": [1, 2], "blur_prob": 0,
                                          "blur_sigma": [1, 2], "betap_range": [1, 3]})  # fmt: skip
    said = "\n".join(note.text for note in options.notes)
    assert "halo_sigma_range: without effect, since halo_prob is 0" in said
    assert "blur_sigma: without effect, since blur_prob is 0 (so is betap_range)" in said
    for section in ({"preset": "redux"}, {"halo_prob": 0.1, "halo_sigma_range": [1, 2]}):
        assert "without effect" not in "\n".join(
            note.text for note in read(tmp_path, degradation=section).notes
        )
    again = read(tmp_path, degradation=read(tmp_path, degradation="redux").degradation.model_dump())
    assert not again.notes  # as a run's resolved.yml is
