"""Folders of images of any size, kind and damage: a run names what it cannot use, or goes on without it."""

import io
import random

import numpy as np
import pytest
from campaigns.attempts import Attempts, Findings
from PIL import Image

COUNT = 120
SIDES = (1, 2, 3, 7, 10, 11, 15, 16, 17, 33, 48, 70)
MODES = ("RGB", "L", "RGBA", "P", "1", "I;16", "LA", "CMYK", "F")
FORMS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "GIF": ".gif"}


def content(rng, height, width):
    """A file of one picture, of a format and a kind that go together."""
    pixels = np.random.default_rng(rng.randrange(99)).integers(0, 256, (height, width, 3), np.uint8)
    while True:
        form, mode = rng.choice(list(FORMS)), rng.choice(("RGB", *MODES))
        buffer = io.BytesIO()
        image = Image.fromarray(pixels)
        image = (
            Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
        )
        try:
            image.save(buffer, form)
        except (OSError, KeyError, ValueError):
            continue
        return FORMS[form], buffer.getvalue()


def hurt(data, rng):
    data = bytearray(data)
    match rng.randrange(6):
        case 0:
            del data[rng.randrange(len(data)) :]
        case 1:
            data = bytearray()
        case 2:
            data[:] = rng.randbytes(len(data))
        case 3:
            data[:] = b"<html>404</html>"
        case _:
            for _ in range(rng.randint(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def folder_of(root, rng, count, damage):
    """Pairs of which each may have its fault; their number."""
    for part in ("HR", "LR"):
        (root / part).mkdir(parents=True)
    for index in range(count):
        large = rng.random() < 0.8
        height, width = (rng.choice(SIDES[-3:] if large else SIDES) for _ in range(2))
        off = rng.choice((0, 0, 0, 0, 0, 0, 1, -1)) if rng.random() < damage else 0
        for part, scale in (("HR", 2), ("LR", 1)):
            suffix, data = content(rng, max(1, height * scale + off * (scale - 1)), width * scale)
            if rng.random() < damage / 2:
                data = hurt(data, rng)
            if rng.random() > damage / 6:
                (root / part / f"{index}{suffix}").write_bytes(data)


@pytest.mark.slow
def test_images_are_used_or_named(tmp_path, capfd):
    attempts, rng = Attempts(tmp_path), random.Random(17)
    ends = []
    findings = Findings()
    for index in range(COUNT):
        with findings.gather():
            options = attempts.options()
            root, damage = tmp_path / options["name"], rng.choice((0.0, 0.1, 0.5))
            for part in rng.choice((("train",), ("val",), ("train", "val"))):
                folder_of(root / part, rng, rng.randint(1, 8), damage)
                data = options["datasets"][part]
                data |= {"dataroot_gt": str(root / part / "HR"), "dataroot_lq": str(root / part / "LR")}
                data["skip_bad_images"] = rng.random() < 0.7
            options["datasets"]["train"]["cache"] = rng.choice(("ram", "off", "disk"))
            options["train"]["total_iter"] = 8
            metric = rng.choice(("psnr", "ssim", "niqe", None))
            options["val"] |= {"metrics": {metric: {}}} if metric else {}
            check = rng.random() < 0.3
            about = index, damage, options["datasets"]
            done, said, told = attempts.run(options, about, *(["--check"] if check else []))
            assert done.returncode in (0, 2), (about, said)
            assert str(tmp_path) in said or not done.returncode, (about, said)  # the file or folder is named
            assert capfd.readouterr().err == "", about
            ends.append((done.returncode, told.get("status"), "skipped" in said, "may be damaged" in said))
            attempts.clear()
    findings.none()
    assert {end[0] for end in ends} == {0, 2}, ends
