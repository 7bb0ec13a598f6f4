"""Files of Real-ESRGAN and of neosr (YAML of its first years): what they name otherwise, and where."""

import pytest

from traiNNer.archs import NETWORKS
from traiNNer.build.check import check_parts
from traiNNer.build.check_networks import NAMED_OTHERWISE, check_network
from traiNNer.cli.check import main as check
from traiNNer.options import load_options
from traiNNer.registry import ConfigError

REAL_ESRGAN = """
name: theirs
scale: 4
jpeg_range: [30, 95]
gt_size: 256
queue_size: 180
datasets:
  train:
    type: RealESRGANDataset
    dataroot_gt: photos
    meta_info: names.txt
    sinc_prob: 0.1
    gt_size: 256
network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 23, num_grow_ch: 32}
train:
  total_iter: 1000
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
"""
NEOSR = """
name: theirs
scale: 4
datasets:
  train:
    type: otf
    dataroot_gt: photos
    gt_size: 128
    augmentation: [none, mixup]
    aug_prob: [0.3, 0.1]
  val: {type: single, dataroot_lq: lq}
network_g: {type: compact}
val: {tile: -1}
train:
  total_iter: 1000
  ema: 0.999
  pixel_opt: {type: L1Loss}
  ldl_opt: {type: L1Loss, loss_weight: 0.5}
  mssim_opt: {type: mssim}
"""


def test_real_esrgan_has_the_size_of_patches_at_two_places(write):
    options = load_options(write(REAL_ESRGAN), check=check_parts)
    assert (options.datasets["train"].gt_size, options.degradation.jpeg_range) == (256, [30, 95])
    with pytest.raises(ConfigError, match="given twice with different values"):
        load_options(write(REAL_ESRGAN.replace("gt_size: 256", "gt_size: 128", 1)))


def test_models_of_real_esrgan_sharpen_what_its_files_do_not_say(write):
    def sharpened(lines):
        chain = load_options(write(REAL_ESRGAN + lines)).degradation
        return chain.gt_usm, chain.l1_gt_usm, chain.percep_gt_usm, chain.gan_gt_usm

    assert sharpened("") == sharpened("model_type: RealESRNetModel") == (False,) * 4
    assert sharpened("model_type: RealESRNetModel\ngt_usm: true") == (True, True, True, False)
    assert sharpened("model_type: RealESRGANModel\nl1_gt_usm: true") == (True, True, False, False)
    assert sharpened("model_type: RealESRGANModel\ngt_usm: false") == (False,) * 4


PAIRS = REAL_ESRGAN.replace("RealESRGANDataset", "RealESRGANPairedDataset\n    dataroot_lq: lq")


@pytest.mark.parametrize(
    "text",
    [
        NEOSR,
        f"{REAL_ESRGAN}model_type: RealESRGANModel",
        f"{PAIRS}l1_gt_usm: true\nhigh_order_degradation: false",
    ],
)
def test_the_same_in_todays_form_is_the_same(write, text, capsys):
    theirs = load_options(write(text, "theirs.yml"))
    check(["theirs.yml", "--no-data", "--write", "mine.yml"])
    assert load_options("mine.yml") == theirs
    capsys.readouterr()


def test_of_a_relativistic_game_is_told_once(write):
    game = "  {}_opt: {{type: GANLoss}}\n"
    text = f"{REAL_ESRGAN}{game.format('gan')}{game.format('other')}model_type: ESRGANModel"
    notes = [str(note) for note in load_options(write(text)).notes]
    assert sum("gan_type: ragan" in note for note in notes) == 1


def test_yaml_of_neosr_means_what_its_toml_means(write):
    options = load_options(write(NEOSR), check=check_parts)
    assert [data.type for data in options.datasets.values()] == ["RealESRGANDataset", "SingleImageDataset"]
    train = options.train
    assert (train.moa_augs, train.moa_probs) == (["none", "mixup"], pytest.approx([0.75, 0.25]))
    assert (train.ema_decay, options.val.tile_size) == (0.999, 0)
    ldl = {"type": "LDLLoss", "criterion": "l1", "loss_weight": 0.5}
    mssim = {"type": "mssim", "test_y_channel": False, "include_luminance": True}
    assert train.losses == [{"type": "L1Loss"}, ldl, mssim]
    redux = NEOSR.replace("{type: mssim}", "{type: mssimloss}")
    assert load_options(write(redux)).train.losses[-1] == {"type": "mssimloss"}
    alone = load_options(write(NEOSR.replace("    augmentation: [none, mixup]\n", "")))
    assert any("aug_prob: has no effect" in note.text for note in alone.notes)
    with pytest.raises(ConfigError, match="of criterion l1, l2 or charbonnier, not of a HuberLoss"):
        load_options(write(NEOSR.replace("ldl_opt: {type: L1Loss", "ldl_opt: {type: HuberLoss")))


def test_a_network_that_neosr_calls_otherwise_is_named_as_it_is_called_here():
    assert set(NAMED_OTHERWISE.values()) <= set(NETWORKS.names())
    (problem,) = check_network({"type": "DAT_medium", "scale": 4}, enlarges=True)
    assert problem.message == "'DAT_medium' is called dat here"
    (problem,) = check_network({"type": "ea2fpn"}, enlarges=False)
    assert "patchgan" in problem.message and "swinir" not in problem.message


def test_forks_of_basicsr_name_the_cosine_of_torch_otherwise(write):
    scheduler = "  scheduler: {type: TrueCosineAnnealingLR, T_max: 900, eta_min: 1e-7}\n"
    options = load_options(write(REAL_ESRGAN + scheduler), check=check_parts)
    assert options.train.scheduler["T_max"] == 900
