import cv2
import numpy as np
import pytest
import yaml

from traiNNer.build.degradation import build_chain
from traiNNer.build.fit_degradations import FIXED
from traiNNer.cli.fit_degradations import main
from traiNNer.data.degradations.draws import Draws
from traiNNer.data.images.image_io import write_image
from traiNNer.data.purposes import Purpose
from traiNNer.data.synthetic import dead_leaves
from traiNNer.options.degradation import DegradationOptions

KNOWN = {"blur_sigma": [1.4, 2.2], "noise_range2": [8, 13], "jpeg_range2": [40, 60]}


def folders(folder):
    """Good images, others degraded by `KNOWN`."""
    chain = build_chain(DegradationOptions(**FIXED | KNOWN | {"gray_noise_prob2": 0.0}))
    for number in range(10):
        image = dead_leaves(128, 1, number)
        write_image(folder / "gt" / f"{number}.png", dead_leaves(128, 0, number))
        lq = chain(image.astype(np.float32), (64, 64), Draws(1, Purpose.TRAIN, number))
        write_image(folder / "lq" / f"{number}.png", lq.astype(np.uint8))


def proposed(folder, capsys):
    command = [str(folder / "lq"), "--gt", str(folder / "gt"), "--scale", "2", "--simulations", "200"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    section = yaml.safe_load(printed.split("\n\n")[0])["degradation"]
    DegradationOptions(**section)
    return section, printed


def test_settings_of_a_target_are_recovered_approximately(tmp_path, capsys):
    folders(tmp_path)
    section, printed = proposed(tmp_path, capsys)
    for option, near in (("blur_sigma", 0.4), ("noise_range2", 3), ("jpeg_range2", 8)):
        assert np.mean(section[option]) == pytest.approx(np.mean(KNOWN[option]), abs=near), option
    rows = [line.split() for line in printed.split("\n\n")[2].splitlines()[1:]]
    clean, fitted, target = np.array([row[-3:] for row in rows], float).T
    assert np.abs(fitted - target).mean() < 0.4 * np.abs(clean - target).mean()


def test_a_target_that_is_too_small_is_refused_before_any_photograph_is_decoded(tmp_path, capsys):
    write_image(tmp_path / "gt/0.png", dead_leaves(128, 0, 0))
    whole = (tmp_path / "gt/0.png").read_bytes()
    (tmp_path / "gt/0.png").write_bytes(whole[: len(whole) // 2])  # a header, and pixels that cannot be read
    write_image(tmp_path / "lq/0.png", dead_leaves(24, 0, 0))
    assert main([str(tmp_path / "lq"), "--gt", str(tmp_path / "gt"), "--scale", "2"]) == 2
    assert f"{tmp_path / 'lq/0.png'}: should have at least 32 pixels a side" in capsys.readouterr().err


@pytest.mark.slow
def test_quality_is_that_of_the_tables_where_files_have_them(tmp_path, capsys):
    folders(tmp_path)
    for path in (tmp_path / "lq").iterdir():
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 24])
        path.unlink()
    section, printed = proposed(tmp_path, capsys)
    assert section["jpeg_range2"] == [24, 24]
    assert "10 with JPEG tables" in printed
