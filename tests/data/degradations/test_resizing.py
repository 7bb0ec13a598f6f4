import numpy as np
import pytest
import torch
import torch.nn.functional as F
from chains import picture
from PIL import Image

from traiNNer.data.degradations.resizing import MODES, resize

SIZES = [(16, 20), (37, 31), (64, 64), (96, 80), (101, 77)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_resizing_keeps_places(mode, size):
    """A ramp stays the same ramp of the field of view."""
    y, x = (np.arange(side) + 0.5 for side in (64, 64))
    ramp = np.repeat((40 + x[None, :] + 1.5 * y[:, None])[..., None], 3, 2).astype(np.float32)
    small = resize(ramp, *size, mode)
    y, x = ((np.arange(side) + 0.5) * 64 / side for side in size)
    error = (small[..., 0] - (40 + x[None, :] + 1.5 * y[:, None]))[6:-6, 6:-6]
    assert abs(error.mean()) < 0.02
    if mode != "nearest-exact":
        # an upscaled area is a staircase whose steps lie around their places
        assert np.abs(error).max() < (1.6 if mode == "area" and size > (64, 64) else 0.2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_a_mirrored_image_is_resized_to_the_mirrored_result(mode, size):
    image = picture(64)
    there, mirrored = resize(image, *size, mode), resize(image[::-1, ::-1].copy(), *size, mode)
    np.testing.assert_allclose(mirrored[::-1, ::-1], there, atol=1e-2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_flat_stays_flat(mode, size):
    np.testing.assert_allclose(
        resize(np.full((64, 64, 3), 93, np.float32), *size, mode), np.full((*size, 3), 93), atol=1e-3
    )


def test_area_is_the_mean():
    image = picture(64)
    expected = image.reshape(16, 4, 16, 4, 3).mean((1, 3))
    np.testing.assert_allclose(resize(image, 16, 16, "area"), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("mode", "filter"),
    [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC),
     ("lanczos", Image.Resampling.LANCZOS)],
)  # fmt: skip
def test_shrinking_is_antialiased_as_pillow_does_it(mode, filter):
    image = picture(64)
    planes = [
        np.asarray(Image.fromarray(plane).resize((23, 27), filter)) for plane in image.transpose(2, 0, 1)
    ]
    np.testing.assert_allclose(resize(image, 27, 23, mode), np.stack(planes, 2), atol=0.02)


def test_nearest_takes_values_that_are_there_or_the_mean_of_two():
    image = picture(60)
    odd = resize(image, 20, 20, "nearest-exact")
    np.testing.assert_array_equal(odd, image[1::3, 1::3])
    even = resize(image, 15, 15, "nearest-exact")
    middle = image.reshape(15, 4, 15, 4, 3)[:, 1:3, :, 1:3].mean((1, 3))
    np.testing.assert_allclose(even, middle, atol=1e-3)


def test_enlarging_by_bilinear_is_that_of_torch():
    image = picture(32)
    planes = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    expected = F.interpolate(planes, (48, 40), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    np.testing.assert_allclose(resize(image, 48, 40, "bilinear"), expected, atol=1e-2)
