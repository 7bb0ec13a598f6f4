"""Pairs of photographs of which LPIPS and DISTS are known, and weights of DISTS that need no file."""

import cv2
import torch

IMAGES = ("butterfly.png", "woman.png")


def plain_weights():
    """Weights of DISTS by a formula: every channel another one, and alpha and beta different."""
    places = torch.arange(1475).view(1, 1475, 1, 1)
    return {"alpha": 1.0 + places * 7 % 13, "beta": 1.0 + places * 5 % 11}


def read(path):
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return torch.from_numpy(bgr[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() / 255


def pairs(data):
    """Outputs of RCAN at x4 and the originals, by name."""
    for name in IMAGES:
        sr = read(data / "oracle/RCAN_Set5_x4" / name)
        yield name, sr, read(data / "bench/Set5/HR" / name)[:, :, : sr.shape[2], : sr.shape[3]]
