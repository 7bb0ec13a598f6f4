"""`trainner compare` of models: their scores are those of a test, and every version of an image is on the page."""

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from traiNNer.archs import build_network
from traiNNer.build.compare_models import _images, _names, _scores, _upscaler
from traiNNer.cli.compare import main
from traiNNer.data.images.image_io import read_image, write_image
from traiNNer.data.images.resize import imresize
from traiNNer.inference.load import load_trained
from traiNNer.metrics import psnr


def weights(path, *, num_conv=1, scale=2, channels=3):
    torch.manual_seed(num_conv)
    sizes = {"num_feat": 4, "num_conv": num_conv, "num_in_ch": channels, "num_out_ch": channels}
    net = build_network({"type": "compact", "scale": scale, **sizes})
    about = {"architecture": "compact", "options": json.dumps(net.options), "scale": str(scale)}
    path.parent.mkdir(exist_ok=True, parents=True)
    save_file(net.state_dict(), path, about)
    return str(path)


@pytest.fixture
def folder(tmp_path, photographs):
    """Two photographs, one of odd size."""
    for name, photograph in zip(
        ("caf\u00e9 1", "b"), (photographs[0][:81, :60], photographs[1][:80, :60]), strict=True
    ):
        write_image(tmp_path / "gt" / f"{name}.png", np.ascontiguousarray(photograph))
    return tmp_path


def pixels(address):
    data = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def as_tensor(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].double() / 255


def test_models_lie_beside_bicubic_and_the_original_with_the_scores_of_papers(folder):
    files = [
        weights(folder / "experiments" / run / "models/net_g_best.safetensors", num_conv=k)
        for k, run in ((1, "a"), (2, "b"))
    ]
    out = folder / "page.html"
    assert main([*files, "--gt", str(folder / "gt"), "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    names = ["bicubic", "a net_g_best", "b net_g_best", "original"]
    assert re.findall(r'<option value="\d"(?: selected)?>([^<]+)', page) == names * 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    figures = page.split("<figure>")[1:]
    assert len(figures) == 2
    for figure in figures:
        name = re.search("<figcaption>([^<]+)<", figure)[1]
        versions = {alt: pixels(src) for src, alt in re.findall(r'<img src="([^"]+)" alt="([^"]+)"', figure)}
        assert list(versions) == names
        gt = read_image(folder / "gt" / f"{name}.png")[:80]
        assert np.array_equal(versions["original"], gt)
        assert np.array_equal(versions["bicubic"], imresize(imresize(gt, 0.5), 2))
        for k, version in enumerate(names[:-1], start=1):
            score = psnr(as_tensor(versions[version]), as_tensor(gt), crop_border=2, y_channel=True)
            row = re.search(rf"<tr><td>{name}<td>(.*?)(<tr>|</table>)", page)[1]
            assert float(re.sub("</?b>", "", row).split("<td>")[k - 1]) == pytest.approx(
                score.item(), abs=0.01
            )


@pytest.mark.parametrize("color", [None, "y", "grey"])
def test_a_model_of_any_channels_is_scored_by_the_pictures_that_it_makes(folder, color):
    trained = load_trained(
        Path(weights(folder / "net.safetensors", channels=1 if color else 3)), {}, color=color
    )
    images = _images(folder / "gt", None, 2)
    scores = _scores(trained, images, {}).metrics["psnr_y"]
    for index, score in enumerate(scores):
        pair = images.pair(index)
        made = as_tensor(_upscaler(trained).pixels(pair.lq))
        expected = psnr(made, as_tensor(pair.gt), crop_border=2, y_channel=True)
        assert score == pytest.approx(expected.item(), abs=1e-4)  # 1e-3 without rounding


def test_what_cannot_be_compared_is_said(folder, capsys):
    one, other = weights(folder / "one.safetensors"), weights(folder / "other.safetensors", scale=4)
    gt = ["--gt", str(folder / "gt")]
    for words, said in (
        ([one], "--gt: is required"),
        ([one, other, *gt], "should be of one scale"),
        ([one, one, *gt], "named twice"),
        ([one, "num_fet=4", *gt], "num_fet"),
        (["scale=2", one, *gt], "a model should come first"),
        ([str(folder), str(folder), *gt], "--gt, --lq: are for models"),
        ([str(folder)], "one run alone"),
        ([str(folder / "missing.safetensors"), *gt], "missing.safetensors"),
    ):
        assert main([*words, "--out", str(folder / "page.html")]) == 2
        assert said in capsys.readouterr().err
    assert main([str(folder / "missing.safetensors"), *gt, "--out", str(folder)]) == 2
    assert f"--out {folder}: is a folder" in capsys.readouterr().err
    assert not (folder / "page.html").exists()


@pytest.mark.parametrize(("size", "status"), [((16, 40), 0), ((15, 40), 2), ((1, 40), 2)])
def test_images_that_are_too_small_for_a_score_are_named(folder, capsys, size, status):
    write_image(folder / "gt/icon.png", np.zeros((*size, 3), np.uint8))
    words = [
        weights(folder / "net.safetensors"),
        "--gt",
        str(folder / "gt"),
        "--out",
        str(folder / "page.html"),
    ]
    assert main(words) == status
    assert ("icon: is too small to be scored" in capsys.readouterr().err) == bool(status)


def test_a_model_is_never_called_as_what_stands_beside_it(tmp_path):
    assert _names([tmp_path / "bicubic.pth", tmp_path / "other.pth"])[0] != "bicubic"


def test_a_number_of_pictures_below_0_is_a_mistake_on_the_command_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["a.pth", "--gt", "photos", "--pictures", "-1"])
    assert (
        ended.value.code == 2
        and "--pictures: should be a whole number from 0 on (got -1)" in capsys.readouterr().err
    )
