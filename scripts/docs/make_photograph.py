"""Draw the picture of the README: a part of a photograph by bicubic, by a trained network, and as it is.

python scripts/docs/make_photograph.py WEIGHTS

The photograph is halved by MATLAB's bicubic first. It is `chelsea.png`, which scikit-image installs: Chelsea the
cat, by Stefan van der Walt, CC0.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image, ImageDraw, ImageFont

from traiNNer.archs import load_network
from traiNNer.data.images.image_io import Pixels, eight_bits, read_image
from traiNNer.data.images.resize import imresize
from traiNNer.metrics import psnr

TARGET = Path(__file__).parents[2] / "docs/images/photograph.png"
_PART = np.s_[70:200, 120:270]
_ZOOM, _BAR, _GAP = 2, 26, 6  # pixels are doubled; the line of names and the space between images in pixels


def _image(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def main(weights: str) -> None:
    """Write the picture and print the scores of the whole photograph."""
    gt = eight_bits(read_image(Path(skimage.__file__).parent / "data/chelsea.png"))
    gt = gt[: gt.shape[0] // 2 * 2, : gt.shape[1] // 2 * 2]
    lq = imresize(gt, 1 / 2)
    with torch.no_grad():
        output = load_network(weights).eval()(_image(lq))[0].clamp(0, 1)
    trained = (output * 255).round().byte().permute(1, 2, 0).numpy()
    shown = {"bicubic": imresize(lq, 2), "trained": trained, "original": gt}
    height, width = (_ZOOM * side for side in gt[_PART].shape[:2])
    canvas = Image.new("RGB", (3 * width + 2 * _GAP, height + _BAR), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(17)
    for index, (name, pixels) in enumerate(shown.items()):
        part = pixels[_PART].repeat(_ZOOM, 0).repeat(_ZOOM, 1)
        canvas.paste(Image.fromarray(part), (index * (width + _GAP), _BAR))
        draw.text((index * (width + _GAP) + 2, 3), name, fill="black", font=font)
        score = psnr(_image(pixels), _image(gt), crop_border=2, y_channel=True).item()
        print(f"{name}: {score:.2f} dB")
    canvas.save(TARGET, optimize=True)
    print(f"written: {TARGET}")


if __name__ == "__main__":
    main(sys.argv[1])
