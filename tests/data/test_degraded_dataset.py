import numpy as np
import pytest
import small_run
import torch
from safetensors.torch import load_file

from traiNNer.build.degradation import build_chain
from traiNNer.build.usable import usable
from traiNNer.data.cache.policy import CacheSettings
from traiNNer.data.degradations.chain import Applied
from traiNNer.data.degradations.resizing import resize
from traiNNer.data.degraded_dataset import DegradedImageDataset, Downsampling
from traiNNer.data.images.image_io import write_image
from traiNNer.data.loader import TrainLoader
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.pairs.audit import audit
from traiNNer.data.sampler import Sampler
from traiNNer.data.synthetic import dead_leaves
from traiNNer.data.training_set import report_small
from traiNNer.options.degradation import PRESETS, DegradationOptions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("gt")
    for number in range(5):
        write_image(root / f"HR/{number}.png", dead_leaves(120, 0, number)[: 120 - number])
        write_image(root / f"LR/{number}.png", np.full(((120 - number) // 4, 30, 3), 9, np.uint8))
    return root


def opened(folder, preset="realesrgan", scale=4, **options):
    images = PairedImageDataset([folder / "HR"], [folder / "HR"], 1)
    chain = build_chain(DegradationOptions(**{**PRESETS[preset], **options}))
    return DegradedImageDataset(images, scale, chain)


def lq_by_position(images, count, *, batch, workers=0, world_size=1):
    found = {}
    for rank in range(world_size):
        loader = TrainLoader(images, 7, num_workers=workers, rank=rank, world_size=world_size)
        batches, start = loader.batches(0, batch, 12), rank * batch
        while start < count:
            part = next(batches)
            found |= {
                start + index: (part.lq[index].numpy(), part.gt[index].numpy()) for index in range(batch)
            }
            start += batch * world_size
    return [found[position] for position in range(count)]


@pytest.mark.parametrize(("batch", "workers", "world_size"), [(3, 0, 1), (2, 2, 1), (2, 0, 3)])
def test_a_position_holds_the_same_bits_for_any_batch_workers_and_processes(
    folder, batch, workers, world_size
):
    images = opened(folder)
    expected = lq_by_position(images, 12, batch=1)
    found = lq_by_position(images, 12, batch=batch, workers=workers, world_size=world_size)
    for a, b in zip(expected, found, strict=True):
        assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])


def test_seeds_and_positions_give_other_samples_of_one_image(folder):
    images = opened(folder)
    sampler = Sampler(1, 0)
    samples = {images.read(sampler[position], 12).lq.tobytes() for position in range(8)}
    samples |= {images.read(Sampler(1, 1)[position], 12).lq.tobytes() for position in range(8)}
    assert len(samples) == 16


def test_lq_shows_what_gt_shows(folder):
    """Crops, flips and margins are those of GT: no other part, no shift."""
    images = DegradedImageDataset(opened(folder).files, 4, Downsampling("area"))
    sampler = Sampler(len(images), 0)
    for position in range(20):
        lq, gt = images.read(sampler[position], 12)
        mean = gt.reshape(12, 4, 12, 4, 3).mean((1, 3))
        assert np.abs(lq - mean).max() <= 0.5


def test_what_is_looked_at_before_a_run_degrades_no_whole_image(folder, tmp_path):
    sizes = []

    def degrade(image, size, draws, trace=None):
        sizes.append(size)
        return resize(image, *size, "area")

    write_image(tmp_path / "a.png", dead_leaves(580, 0, 0))
    photos = PairedImageDataset([tmp_path], [tmp_path], 1)
    images = DegradedImageDataset(photos, 2, degrade)
    assert usable(images, dict, read=True, skip_bad_images=False, reopen=lambda _: images) is images
    assert sizes == []
    assert audit(images).findings == ()
    assert sizes == [(256, 256)]
    whole, middle = images.pair(0), images.excerpt(0, 256)
    assert np.array_equal(whole.gt[34 : 34 + 512, 34 : 34 + 512], middle.pair.gt)
    assert np.array_equal(whole.gt, middle.gt)


def test_a_patch_is_degraded_with_what_lies_around_it(folder):
    images = DegradedImageDataset(opened(folder).files, 4, Downsampling("bicubic"))
    sampler = Sampler(len(images), 0)
    for position in range(20):
        draw = sampler[position]
        lq, gt = images.read(draw, 12)
        alone = resize(gt.astype(np.float32), 12, 12, "bicubic")
        inner = np.abs(lq - alone)[2:-2, 2:-2].max()
        assert inner <= 0.51
        if np.abs(lq - alone).max() > 1:
            return
    pytest.fail("no patch depends on its surroundings")


def test_borders_are_as_good_as_the_middle(folder):
    images = opened(folder, "strong", noise_range=[0, 0], noise_range2=[0, 0])
    sampler = Sampler(len(images), 0)
    errors = np.zeros((12, 12))
    for position in range(300):
        lq, gt = images.read(sampler[position], 12)
        errors += np.abs(lq - gt.reshape(12, 4, 12, 4, 3).mean((1, 3))).mean(2)
    ring = np.ones((12, 12), bool)
    ring[2:-2, 2:-2] = False
    assert errors[ring].mean() == pytest.approx(errors[3:-3, 3:-3].mean(), rel=0.08)


def test_images_smaller_than_a_patch_are_continued_by_reflection(folder):
    images = opened(folder)
    lq, gt = images.read(Sampler(len(images), 0)[0], 40)
    assert lq.shape == (40, 40, 3) and gt.shape == (160, 160, 3)
    assert report_small(images, 40) == 5 and report_small(images, 12) == 0


def test_whole_images_from_a_cache_on_the_disk_may_be_written_to(folder, tmp_path):
    cache = CacheSettings("disk", memory=2**30, folder=tmp_path)
    photos = PairedImageDataset([folder / "HR"], [folder / "HR"], 1, cache=cache)
    assert photos.kept.startswith("kept on the disk")
    torch.from_numpy(DegradedImageDataset(photos, 4, Downsampling("area")).pair(0).gt)  # warns of others


def test_sixteen_bits_stay_sixteen(tmp_path):
    write_image(tmp_path / "HR/a.png", dead_leaves(96, 0, 1).astype(np.uint16) * np.uint16(257))
    lq, gt = opened(tmp_path, "weak").read(Sampler(1, 0)[0], 12)
    assert lq.dtype == gt.dtype == np.uint16
    assert abs(lq.mean() / gt.mean() - 1) < 0.1


def test_validation_degrades_whole_images_the_same_in_every_run(folder):
    images = opened(folder)
    pairs = [images.pair(index) for index in range(5)]
    assert [pair.name for pair in pairs] == images.names
    assert all(pair.gt.shape[0] == 4 * pair.lq.shape[0] for pair in pairs)
    assert all(np.array_equal(a.lq, opened(folder).pair(index).lq) for index, a in enumerate(pairs))
    train = images.read(Sampler(1, 0)[0], 12)
    assert not np.array_equal(train.lq, pairs[0].lq[:12, :12])


def test_a_share_of_samples_takes_the_given_lq(folder):
    paired = PairedImageDataset([folder / "HR"], [folder / "LR"], 4)
    chain = build_chain(DegradationOptions())
    images = DegradedImageDataset(paired, 4, chain, paired_prob=0.3)
    sampler = Sampler(len(images), 0)
    given = sum((images.read(sampler[position], 12).lq == 9).all() for position in range(200))
    assert 40 < given < 80


@pytest.mark.parametrize("mode", ["area", "nearest-exact", "lanczos"])
def test_downsampling_only_shrinks(folder, mode):
    images = DegradedImageDataset(opened(folder).files, 4, Downsampling(mode))
    pair = images.pair(0)
    expected = np.rint(np.clip(resize(pair.gt.astype(np.float32), 30, 30, mode), 0, 255))
    assert np.array_equal(pair.lq, expected)


def test_a_traced_sample_is_the_sample_itself(folder):
    images = opened(folder)
    draw, trace = Sampler(len(images), 0)[5], list[Applied]()
    assert np.array_equal(images.traced(draw, 12, trace).lq, images.read(draw, 12).lq)
    assert len(trace) > 3


# --- in runs -----------------------------------------------------------------------------------------------


def configuration(folder, kind, **more):
    options = small_run.options(folder)
    for data in options["datasets"].values():
        data["type"] = kind
        if kind != "RealESRGANPairedDataset":
            del data["dataroot_lq"]
    return options | more


@pytest.mark.parametrize(
    "kind",
    ["realesrgandataset", "RealESRGANPairedDataset", pytest.param("SingleGtDataset", marks=pytest.mark.slow)],
)
def test_a_run_resumes_to_the_same_bits(tmp_path, kind):
    small_run.write_data(tmp_path)
    chain = {} if kind == "SingleGtDataset" else {"degradation": {"preset": "strong"}}
    whole = configuration(tmp_path, kind, **chain)
    whole["datasets"]["train"]["num_worker_per_gpu"] = 1
    file = small_run.write_options(tmp_path, whole)
    models = tmp_path / "experiments"
    assert small_run.train(file).returncode == 0
    assert small_run.train(file, "name=part", "logger.save_checkpoint_freq=7").returncode == 0
    for state in (models / "part/training_states").iterdir():
        if state.stem != "7":
            state.unlink()
    (models / "part/models/net_g_20.safetensors").unlink()
    again = ("name=part", "logger.save_checkpoint_freq=7", "datasets.train.num_worker_per_gpu=0")
    assert small_run.train(file, *again, "--auto_resume").returncode == 0
    whole_run, resumed = (
        load_file(models / name / "models/net_g_20.safetensors") for name in ("small", "part")
    )
    assert all(torch.equal(whole_run[key], resumed[key]) for key in whole_run)


def test_check_looks_at_the_chain(tmp_path):
    small_run.write_data(tmp_path)
    file = small_run.write_options(tmp_path, configuration(tmp_path, "RealESRGANDataset"))
    printed = small_run.train(file, "--check")
    assert printed.returncode == 0, printed.stderr
    assert "One step and one validation image went through" in printed.stdout


def test_the_switch_off_leaves_the_set_without_lq(tmp_path):
    small_run.write_data(tmp_path)
    options = configuration(tmp_path, "RealESRGANDataset", high_order_degradation=False)
    printed = small_run.train(small_run.write_options(tmp_path, options))
    assert printed.returncode == 2
    assert "SingleGtDataset only shrinks" in printed.stderr
