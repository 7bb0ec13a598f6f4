"""Each fault that a data set may have is named, with the remedy, and a good set is left in peace."""

import re

import cv2
import numpy as np
import pytest

from traiNNer.data.images.image_io import ImageError
from traiNNer.data.images.resize import imresize, shrink
from traiNNer.data.paired_dataset import Excerpt, Pair
from traiNNer.data.pairs.audit import audit
from traiNNer.data.synthetic import dead_leaves

PHOTOS = [dead_leaves(128, 0, index) for index in range(6)]


class Made:
    """Pairs in memory: photographs and what a function makes of them."""

    def __init__(self, degrade=None, scale=2, photos=PHOTOS):
        self.scale = scale
        self._photos = photos
        self._degrade = degrade or (lambda gt: shrink(gt, scale))

    def __len__(self):
        return len(self._photos)

    def excerpt(self, index, lq_size):
        pair = self.pair(index)
        return Excerpt(pair, pair.gt)

    def pair(self, index):
        gt = self._photos[index]
        if gt is None:
            raise ImageError(f"{index}.png: is cut short")
        return Pair(self._degrade(gt), gt, f"p{index}")


def _only(result, *words):
    assert len(result.findings) == 1, result.findings
    for word in words:
        assert word in result.findings[0]
    assert f"! {result.findings[0]}" in result.lines()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_good_set_has_no_findings(scale):
    photos = [photo[:120, :120] for photo in PHOTOS]
    result = audit(Made(scale=scale, photos=photos))
    assert result.findings == ()
    assert (result.checked, result.total) == (6, 6)
    assert np.abs(result.shift).max() < 0.02
    assert np.abs(result.offset).max() < 0.002
    assert result.gain == pytest.approx(1, abs=0.01)
    whole = np.stack(photos) / 255
    np.testing.assert_allclose(result.gt.mean, whole.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(result.gt.deviation, whole.std(axis=(1, 2)).mean(axis=0))
    assert result.gt.dtypes == {"uint8": 6}
    assert (result.gt.low, result.gt.high) == (whole.min(), whole.max())


def test_blur_noise_and_compression_are_no_fault():
    def degrade(gt):
        lq = cv2.GaussianBlur(shrink(gt, 2), (0, 0), 1.0)
        return cv2.imdecode(cv2.imencode(".jpg", lq, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)

    result = audit(Made(degrade))
    assert result.findings == (), result.lines()


def test_real_photographs_have_no_findings(photographs):
    for scale in (2, 4):
        assert audit(Made(scale=scale, photos=photographs)).findings == ()


def test_tiny_images_are_no_fault():
    photos = [*PHOTOS, np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20, PHOTOS[1][:14, :40]]
    assert audit(Made(photos=photos)).findings == ()


def test_equal_photographs_are_found(photographs):
    first, other = photographs[:2]
    _only(audit(Made(photos=[first, other, other.copy()])), "more than once", "p1 = p2")


@pytest.mark.parametrize("move", [(1, 0), (0, -1), (2, 1), (6, -8)])
def test_a_shift_is_measured_in_gt_pixels(move):
    right, down = move
    result = audit(Made(lambda gt: shrink(np.roll(gt, (down, right), (0, 1)), 2)))
    _only(result, "shifted", "scripts/make_lr.py")
    assert result.shift == pytest.approx(move, abs=0.1)


def test_taking_every_second_pixel_is_a_shift_of_half_a_pixel():
    result = audit(Made(lambda gt: gt[::2, ::2]))
    _only(result, "shifted")
    assert result.shift == pytest.approx((0.5, 0.5), abs=0.1)


def test_a_single_shifted_pair_is_named():
    pairs = Made()
    pairs.pair = lambda index: Pair(
        np.roll(shrink(PHOTOS[index], 2), 3 if index == 4 else 0, 1), PHOTOS[index], f"p{index}"
    )
    result = audit(pairs)
    _only(result, "1 pair is shifted")
    assert re.search(r"p4 by \+(5\.9|6\.\d) right", result.findings[0])


def test_swapped_channels_are_named():
    result = audit(Made(lambda gt: shrink(gt, 2)[..., ::-1]))
    assert any("red and blue swapped" in finding for finding in result.findings)
    assert "6 of 6 pairs" in "".join(result.findings)


def test_brightness_and_the_range_of_television_are_named():
    brighter = audit(Made(lambda gt: np.clip(shrink(gt, 2).astype(int) + 4, 0, 255).astype(np.uint8)))
    _only(brighter, "brightness", "same range")
    assert brighter.offset == pytest.approx([4 / 255] * 3, abs=0.003)
    narrow = audit(Made(lambda gt: np.rint(shrink(gt, 2) * (219 / 255) + 16).astype(np.uint8)))
    _only(narrow, "brightness")
    assert narrow.gain == pytest.approx(219 / 255, abs=0.01)


def test_twelve_bits_in_sixteen_are_named():
    photos = [(photo.astype(np.uint16) * 257) >> 4 for photo in PHOTOS]
    result = audit(Made(photos=photos))
    assert ["no value above 0.06" in finding for finding in result.findings] == [True, True]
    assert result.lq.dtypes == {"uint16": 6}


def test_other_pictures_plain_ones_and_unreadable_files_are_named():
    photos = [*PHOTOS, np.full((64, 64, 3), 9, np.uint8), None]
    pairs = Made(photos=photos)
    straight = pairs.pair
    pairs.pair = lambda index: (
        straight(index)._replace(lq=shrink(PHOTOS[3], 2)) if index == 1 else straight(index)
    )
    findings = "\n".join(audit(pairs).findings)
    assert "1 pair does not show the same picture; check its names:\n  p1\n" in findings
    assert "1 GT image is of one colour and teaches nothing; remove it:\n  p6" in findings
    assert "1 pair cannot be read; mend or remove them:\n  7.png: is cut short" in findings
    with pytest.raises(ImageError, match="none of 1 pairs"):
        audit(Made(photos=[None]))


def test_the_sample_is_a_function_of_the_seed_and_no_larger_than_asked():
    seen = []
    pairs = Made(lambda gt: imresize(gt, 0.5))
    straight = pairs.pair
    pairs.pair = lambda index: seen.append(index) or straight(index)
    assert audit(pairs, count=3, seed=1) == audit(pairs, count=3, seed=1)
    assert len(set(seen)) == 3 and seen[:3] == seen[3:]
