"""What would end a run hours later, or spoil it unseen, is found before the first step."""

import logging
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import small_run
import torch
from torch import nn

from traiNNer.archs import NetworkFacts
from traiNNer.build.data import open_sets
from traiNNer.build.metrics import unmeasurable
from traiNNer.build.model import BuiltLoss
from traiNNer.build.rehearsal import rehearse_losses, rehearse_network, smallest_for_losses
from traiNNer.cli.train import main as train_main
from traiNNer.data.images.image_io import write_image
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.pairs.audit import audit
from traiNNer.losses import LOSSES, uses_discriminator
from traiNNer.losses.adversarial import AdversarialLoss
from traiNNer.metrics import METRICS
from traiNNer.models.precision import Precision
from traiNNer.options import load_options
from traiNNer.registry import ConfigError
from traiNNer.runtime.distributed import DistributedContext

CPU = Precision(torch.device("cpu"))


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """A session changes the logger; caplog needs it as it was."""
    monkeypatch.setattr(logging.getLogger("traiNNer"), "propagate", True)


@pytest.fixture
def folder(tmp_path):
    small_run.write_data(tmp_path)
    return tmp_path


def add_pair(folder, name, size, *, cut=None):
    """A validation pair of noise, (height, width) of the LQ; the GT's file is cut off after `cut` bytes."""
    noise = np.random.default_rng(len(name)).integers(0, 256, (2 * size[0], 2 * size[1], 3), dtype=np.uint8)
    write_image(folder / "demo/val/LRx2" / name, noise[::2, ::2])
    write_image(folder / "demo/val/HR" / name, noise)
    if cut:
        path = folder / "demo/val/HR" / name
        path.write_bytes(path.read_bytes()[:cut])


def opened(folder, *overrides):
    file = small_run.write_options(folder, small_run.options(folder))
    return open_sets(load_options(file, overrides), DistributedContext(), may_write=False)


BAD = {
    "damaged": ((40, 40), 3000, "damaged.png"),
    "too small for SSIM": ((6, 30), None, "is 60x12 (width x height), too small for val.metrics.ssim"),
    "nothing left of it": ((2, 30), None, "is 60x4 (width x height), too small for val.metrics.psnr"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_validation_image_that_cannot_be_measured_is_named_or_left_out(folder, fault, caplog):
    size, cut, said = BAD[fault]
    add_pair(folder, "damaged.png", size, cut=cut)
    with pytest.raises(ConfigError) as error:
        opened(folder)
    assert said in str(error.value)
    assert "HR/damaged.png" in str(error.value)
    assert "skip_bad_images: true" in str(error.value)
    with caplog.at_level(logging.WARNING):
        _, val_sets = opened(folder, "datasets.val.skip_bad_images=true")
    assert len(val_sets["val"]) == 2
    assert "damaged" not in "".join(val_sets["val"].names)
    assert any("HR/damaged.png" in message for message in caplog.messages)


def test_a_set_of_which_nothing_is_left_is_refused_even_if_bad_images_may_be_skipped(folder):
    for side in ("HR", "LRx2"):
        for path in (folder / "demo/val" / side).iterdir():
            path.unlink()
    add_pair(folder, "a.png", (4, 4))
    with pytest.raises(ConfigError, match="no image is left to measure"):
        opened(folder, "datasets.val.skip_bad_images=true")


def test_a_run_goes_on_without_the_image_and_a_check_finds_it(folder):
    add_pair(folder, "bad.png", (40, 40), cut=3000)
    file = small_run.write_options(folder, small_run.options(folder, total_iter=2))
    checked = small_run.train(file, "--check")
    assert checked.returncode == 2
    assert "bad.png" in checked.stderr
    assert small_run.train(file, "datasets.val.skip_bad_images=true").returncode == 0


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_measures_the_smallest_image_that_is_said_to_suffice(name, tmp_path):
    parameters = METRICS.parameters(name)
    spec = {"type": name} | {key: False for key in ("pretrained",) if key in parameters}
    try:
        metric = METRICS.build({"crop_border": 2, **spec})
    except ConfigError as error:
        pytest.skip(str(error))  # its weights are not here
    sizes = [(2, 30), (5, 9), (7, 7), (8, 20), (30, 12), (97, 60), (98, 52)]
    for number, (height, width) in enumerate(sizes):
        noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        write_image(tmp_path / "LR" / f"{number:02}.png", noise)
        write_image(tmp_path / "HR" / f"{number:02}.png", noise.repeat(2, 0).repeat(2, 1))
    images = PairedImageDataset([tmp_path / "HR"], [tmp_path / "LR"], 2)
    faults = unmeasurable(images, lambda: {"m": metric})
    for index in range(len(images)):
        pair = images.pair(index)
        gt = torch.from_numpy(pair.gt).permute(2, 0, 1)[None] / 255
        if index in faults:
            with pytest.raises((ValueError, RuntimeError, IndexError)):
                metric(gt, gt.flip(2))
        else:
            metric(gt, gt.flip(2))


def built(name, **options):
    parameters = LOSSES.parameters(name)
    module = LOSSES.build(
        {"type": name, **options, **({"pretrained": False} if "pretrained" in parameters else {})}
    )
    return BuiltLoss(module, 1.0, None)


TRIED = [name for name in LOSSES.names() if not issubclass(LOSSES.find(name), AdversarialLoss)]


@pytest.mark.filterwarnings("ignore:.*random weights")
@pytest.mark.parametrize("name", TRIED)
def test_every_loss_takes_the_smallest_patch_that_is_said_to_suffice_and_none_smaller(name):
    loss = built(name)
    if uses_discriminator(loss.module):
        pytest.skip("the discriminator's own patch is looked at where it is built")
    smallest = smallest_for_losses({"a": loss}, 100, 2, CPU)
    rehearse_losses({"a": loss}, smallest, 2, CPU)
    if smallest > 1:
        with pytest.raises(ConfigError, match=rf"train\.losses\.0 \(a\): .*\.lq_size of {smallest} or more"):
            rehearse_losses({"a": loss}, smallest - 1, 2, CPU)


@pytest.mark.parametrize(("name", "smallest"), [("SSIMLoss", 6), ("GradientVarianceLoss", 8)])
def test_losses_over_windows_need_patches_of_the_window(name, smallest):
    assert smallest_for_losses({"a": built("L1Loss"), "b": built(name)}, 32, 2, CPU) == smallest


def test_a_loss_that_begins_later_is_rehearsed(folder):
    losses = [{"type": "L1Loss"}, {"type": "GradientVarianceLoss", "start_iter": 15}]
    file = small_run.write_options(folder, small_run.options(folder, losses=losses))
    for flags in ([], ["--check"]):
        ended = small_run.train(file, "datasets.train.lq_size=4", *flags)
        assert ended.returncode == 2
        assert "train.losses.1 (gradientvariance)" in ended.stderr
        assert "lq_size of 8 or more" in ended.stderr
    assert not (folder / "experiments").exists()


NETWORKS = {
    "one channel in": (nn.Conv2d(1, 3, 3, padding=1), "takes images of 1 channel, and these are RGB"),
    "one channel out": (nn.Conv2d(3, 1, 3, padding=1), "makes 1 channel of 8x8"),
    "smaller": (nn.Conv2d(3, 3, 3), "makes 3 channels of 6x6"),
    "too deep": (nn.Sequential(*[nn.MaxPool2d(2)] * 5), "8x8 pixels"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_other_channels_or_sizes_is_refused(name):
    net, said = NETWORKS[name]
    channels = getattr(net, "in_channels", 3)
    net.facts = NetworkFacts("generator", channels=channels)
    with pytest.raises(ConfigError, match=said):
        rehearse_network(net, 8, 1, CPU)
    assert net.training


@pytest.mark.parametrize(
    "said", ["DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", ""]
)
def test_memory_that_does_not_suffice_is_no_fault_of_a_network_or_a_loss(said):
    def fail(*_):
        raise RuntimeError(said) if said else MemoryError

    net = nn.Conv2d(3, 3, 3, padding=1)
    net.facts, net.forward = NetworkFacts("generator"), fail
    rehearse_network(net, 8, 1, CPU)
    rehearse_losses({"a": SimpleNamespace(module=fail)}, 8, 1, CPU)


def test_a_validation_image_that_is_trained_on_is_found_by_its_pixels(folder, caplog):
    image = cv2.imread(str(next((folder / "demo/train/HR").iterdir())))
    cv2.imwrite(str(folder / "demo/val/HR/other.bmp"), image)
    cv2.imwrite(str(folder / "demo/val/LRx2/other.bmp"), image[::2, ::2])
    with caplog.at_level(logging.WARNING):
        opened(folder)
    (line,) = [message for message in caplog.messages if "datasets.train too" in message]
    assert line.startswith("datasets.val: 1 of 3 images are in datasets.train too, first ")
    assert "other.bmp" in line


def test_pairs_of_equal_pixels_are_a_finding(folder):
    hr = folder / "demo/train/HR"
    lr = folder / "copy"
    lr.mkdir()
    for path in hr.iterdir():
        (lr / path.name).write_bytes(path.read_bytes())
    (finding,) = audit(PairedImageDataset([hr], [lr], 1)).findings
    assert finding.startswith("6 of 6 pairs have the same pixels in LQ and GT")


def test_one_folder_for_both_sides_is_said(folder, caplog):
    hr = str(folder / "demo/train/HR")
    one = [f"datasets.train.dataroot_gt={hr}", f"datasets.train.dataroot_lq={hr}/../HR"]
    with pytest.raises(
        ConfigError, match="is given as dataroot_gt and as dataroot_lq; LQ images must be 2 times"
    ):
        opened(folder, *one)
    text = "name: n\nscale: 1\ntrain: {total_iter: 1}\ndatasets: {train: {lq_size: 8}}\nnetwork_g: {type: dncnn}\n"
    (folder / "one.yml").write_text(text)
    with caplog.at_level(logging.WARNING):
        open_sets(load_options(folder / "one.yml", one), DistributedContext(), may_write=False)
    assert "would learn to change nothing" in caplog.text


RATIOS = {
    (2, 1, 4): "GT is 2 times LQ in 6 of 6 pairs: scale should be 2 (it is 4)",
    (4, 1, 2): "GT is 4 times LQ in 6 of 6 pairs: scale should be 4 (it is 2)",
    (1, 2, 2): "GT is half of LQ in 6 of 6 pairs: dataroot_gt and dataroot_lq are swapped",
    (
        1,
        4,
        2,
    ): "GT is a quarter of LQ in 6 of 6 pairs: dataroot_gt and dataroot_lq are swapped, and scale should be 4",
    (1, 1, 2): "GT and LQ are of the same size in 6 of 6 pairs, and scale is 2: dataroot_lq should hold",
}


@pytest.mark.parametrize(("gt", "lq", "scale"), RATIOS)
@pytest.mark.parametrize("skip", [False, True])
def test_pairs_that_are_all_off_by_one_ratio_get_one_line_that_names_the_cause(tmp_path, gt, lq, scale, skip):
    for number in range(6):
        height, width = 8 + number, 20 - number
        for side, ratio in (("HR", gt), ("LR", lq)):
            write_image(
                tmp_path / side / f"{number}.png", np.zeros((height * ratio, width * ratio, 3), np.uint8)
            )
    with pytest.raises(ConfigError) as error:
        PairedImageDataset([tmp_path / "HR"], [tmp_path / "LR"], scale, skip_bad_images=skip)
    (line,) = error.value.problems
    assert line.startswith(RATIOS[gt, lq, scale])
    assert "\n" not in line


def test_pairs_off_by_several_ratios_are_listed(tmp_path):
    for number, ratio in enumerate((1, 2, 3, 4)):
        write_image(tmp_path / "HR" / f"{number}.png", np.zeros((8 * ratio, 8 * ratio, 3), np.uint8))
        write_image(tmp_path / "LR" / f"{number}.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"pairs that do not fit \(3\)"):
        PairedImageDataset([tmp_path / "HR"], [tmp_path / "LR"], 2)


def test_nothing_is_drawn_before_the_folders_of_all_sets_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = small_run.options(tmp_path)
    options["datasets"]["train"] |= {
        "dataroot_gt": "datasets/demo/train/HR",
        "dataroot_lq": "datasets/demo/train/LRx2",
    }
    options["datasets"]["val"]["dataroot_gt"] = "nowhere"
    ended = small_run.train(small_run.write_options(tmp_path, options))
    assert ended.returncode == 2
    assert "datasets.val: nowhere: is not a folder" in ended.stderr
    assert not (tmp_path / "datasets").exists()


def test_a_batch_that_no_memory_holds_is_refused_before_it_is_made(folder):
    with pytest.raises(ConfigError, match="a batch of 60,000 patches of 60,000 LQ pixels each way takes"):
        opened(folder, "datasets.train.lq_size=60000", "datasets.train.batch_size_per_gpu=60000")


def test_a_network_that_no_memory_holds_is_refused_before_it_is_made(folder):
    with pytest.raises(ConfigError, match="network_g: its weights take .* GiB"):
        opened(folder, "network_g={type: compact, num_feat: 100000, num_conv: 16}")


def test_a_configuration_under_a_new_name_does_not_take_the_weights_and_states_of_the_old_run(folder):
    runs = folder / "experiments"
    old = runs / "old/training_states"
    old.mkdir(parents=True)
    override = f"path.training_states={old}"
    opened(folder, override)  # nothing is in it
    (old / "10.state").touch()
    with pytest.raises(ConfigError, match="path.training_states: .*holds files of the run 'old'"):
        opened(folder, override)
    opened(folder, override, "name=old")
    opened(folder, override, f"path.experiments_root={folder / 'elsewhere'}")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"val": {"metrics": {"lpips": {"type": "lpips"}}}}, "val.metrics.lpips"),
        ({"losses": [{"type": "L1Loss"}, {"type": "PerceptualLoss"}]}, "train.losses.1"),
    ],
)
def test_weights_that_cannot_be_downloaded_are_named_with_the_option_that_wants_them(
    folder, monkeypatch, capsys, changes, where
):
    monkeypatch.setenv("TORCH_HOME", str(folder))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no way out
    options = small_run.options(folder)
    options |= {"val": options["val"] | changes.get("val", {})}
    options["train"]["losses"] = changes.get("losses", options["train"]["losses"])
    file = small_run.write_options(folder, options)
    assert train_main(["-opt", str(file), "--check"]) == 2
    said = capsys.readouterr().err
    assert f"{where}: no weights at {folder}" in said and "curl -Lo " in said and "datasets." not in said
