"""neosr's TOML files: keys by their meaning, places in messages, and what is not there refused by name."""

import pytest

from traiNNer.build.check import check_parts
from traiNNer.cli.check import main as check
from traiNNer.options import load_options
from traiNNer.registry import ConfigError

TEXT = r"""
name = "theirs"
model_type = "image"
scale = 4
use_amp = true
bfloat16 = true
compile = false

[datasets.train]
type = "otf"
dataroot_gt = 'C:\datasets\gt\'
patch_size = 48
batch_size = 6
accumulate = 2
augmentation = [ "none", "mixup", "cutblur" ]
aug_prob = [ 0.5,
  0.1, 0.4,
  ]
[datasets.val]
name = "val"
type = "paired"
dataroot_gt = 'gt'
dataroot_lq = 'lq'

[degradations]
resize_prob = [ 0.3, 0.4, 0.3 ]
second_blur_prob = 0.4

[val]
val_freq = 1000
tile = 200
[val.metrics.psnr]
type = "calculate_psnr"

[network_d]
type = "unet"
[network_g]
type = "span"   # theirs and ours

[train]
ema = 0.999
grad_clip = true
wavelet_guided = false
wavelet_init = 80000
[train.optim_g]
type = "adamw"
lr = 1e-3
betas = [ 0.98, 0.92 ]
[train.pixel_opt]
type = "L1Loss"
loss_weight = 1.0
[train.gan_opt]
type = "gan_loss"
gan_type = "bce"
loss_weight = 0.1
[train.ff_opt]
type = "ff_loss"
loss_weight = 0.35

[logger]
total_iter = 90_000
print_freq = 100
"""


@pytest.fixture
def write(write):
    return lambda text: write(text, "theirs.toml")


def test_a_file_of_neosr_means_here_what_it_means_there(write):
    options = load_options(write(TEXT), ["datasets.train.batch_size=3"], check=check_parts)
    data, train = options.datasets["train"], options.train
    assert (data.lq_size, data.gt_size, data.batch_size_per_gpu, data.accum_iter) == (48, 192, 3, 2)
    assert (data.type, options.datasets["val"].type) == ("RealESRGANDataset", "PairedImageDataset")
    assert data.dataroot_gt == ["C:\\datasets\\gt\\"]
    assert (train.use_moa, train.moa_augs, train.moa_probs) == (
        True,
        ["none", "mixup", "cutblur"],
        [0.5, 0.1, 0.4],
    )
    assert (train.total_iter, train.ema_decay, train.grad_clip) == (90_000, 0.999, True)
    assert [loss["type"] for loss in train.losses] == ["L1Loss", "gan_loss", "ff_loss"]
    assert (options.val.tile_size, options.amp_bf16, options.use_compile) == (200, True, False)
    assert (options.degradation.resize_prob, options.degradation.blur_prob2) == ([0.3, 0.4, 0.3], 0.4)
    assert train.losses[1]["gan_type"] == "vanilla"
    notes = [note.text for note in options.notes]
    assert "theirs.toml:12:1: datasets.train.patch_size: read as datasets.train.lq_size" in notes
    assert "theirs.toml:61:1: logger.total_iter: read as train.total_iter" in notes


def test_the_same_in_todays_form_is_the_same(write, tmp_path, capsys):
    theirs = load_options(write(TEXT))
    assert check(["theirs.toml", "--no-data", "--write", "mine.yml"]) == 0
    assert "patch_size" not in (tmp_path / "mine.yml").read_text()
    assert load_options("mine.yml") == theirs
    capsys.readouterr()


WRONG = {
    "wavelet_guided = false": ("wavelet_guided = true", ":43:1: train.wavelet_guided: not supported yet"),
    "ema = 0.999": ("emma = 0.999", ":41:1: train.emma: unknown key"),
    "lr = 1e-3": ('sf = "x"\nlr = "fast"', "lr"),
    'type = "ff_loss"': ('type = "fdl_loss"', ":57:8: train.ff_opt.type: "),
    "patch_size = 48": ("patch_size = 48\nlq_size = 32", "given twice with different values"),
    "scale = 4": ('scale = 4\nroot = "C:\\data"', "a path with \\ belongs into single quotes"),
    "use_amp = true": ("use_amp = true\nuse_amp = true", ":6:"),
    "accumulate = 2": ("accumulate = [1,", ":15:1: "),
}


@pytest.mark.parametrize(("right", "wrong"), WRONG.items())
def test_a_mistake_is_named_with_its_place(write, right, wrong):
    text, message = wrong
    with pytest.raises(ConfigError) as error:
        load_options(write(TEXT.replace(right, text)), check=check_parts)
    assert any(message in problem for problem in error.value.problems), error.value.problems


def test_augmentation_without_shares_is_even_and_none_alone_mixes_nothing(write):
    even = TEXT.replace("aug_prob = [ 0.5,\n  0.1, 0.4,\n  ]\n", "")
    options = load_options(write(even))
    assert options.train.moa_probs == pytest.approx([1 / 3] * 3)
    assert not any("add up to" in str(note) for note in options.notes)
    alone = even.replace('[ "none", "mixup", "cutblur" ]', '[ "none" ]').replace("ema = 0.999", "ema = -1")
    train = load_options(write(alone)).train
    assert (train.use_moa, train.ema_decay) == (False, 0.0)


def test_networks_have_the_norms_that_they_have_there(write):
    assert load_options(write(TEXT)).network_g == {"type": "span", "norm": False}
    text = TEXT.replace('type = "span"', 'type = "realplksr"\ndysample = true')
    other = load_options(write(text), check=check_parts).network_g
    assert (other["layer_norm"], other["upsampler"]) == (False, "dysample")
    given = TEXT.replace('type = "span"', 'type = "span"\nnorm = true')
    assert load_options(write(given)).network_g["norm"] is True
