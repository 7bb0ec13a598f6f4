"""The photographs of the experiments: a training set, and a validation set that no run trains on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from traiNNer.data.images.image_io import read_image, write_image
from traiNNer.data.images.resize import shrink
from traiNNer.data.pairs.pairing import find_images

SCALE = 2
_COLLECTIONS = ("T91", "General100")
_VALIDATION_EVERY = 9  # photographs; 21 of the 191
_VALIDATION_SIDE = 96  # pixels at most of a validation photograph, so that validating costs little


class Photographs(NamedTuple):
    """Folders with HR and LRx2 in each."""

    train: Path
    val: Path

    def chosen(self, start: str) -> Path:
        """A folder like `train` of the photographs whose names begin with `start`, made when first asked for."""
        folder = self.train.parent / f"train_{start}"
        for part in ("HR", "LRx2"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            for path in (self.train / part).glob(f"{start}*"):
                copy = folder / part / path.name
                if not copy.exists():
                    shutil.copyfile(path, copy)
        return folder


def prepare(source: Path, folder: Path) -> Photographs:
    """Copy T91 and General100 with their bicubic halves into `folder`, unless that was done before.

    Every ninth photograph is for validation, cut to its middle.
    """
    sets = Photographs(folder / "train", folder / "val")
    done = folder / "done"
    if done.exists():
        return sets
    for index, path in enumerate(_photographs(source)):
        image = read_image(path)
        validates = index % _VALIDATION_EVERY == 0
        height, width = (
            min(size, _VALIDATION_SIDE) if validates else size // SCALE * SCALE for size in image.shape[:2]
        )
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        cut = image[top : top + height, left : left + width]
        root = sets.val if validates else sets.train
        name = f"{path.parent.parent.name}_{path.stem}.png"
        write_image(root / "HR" / name, cut)
        write_image(root / "LRx2" / name, shrink(cut, SCALE))
    done.touch()
    return sets


def _photographs(source: Path) -> list[Path]:
    roots = [source / "train" / name / "HR" for name in _COLLECTIONS]
    return [root / name for root in roots for name in find_images(root)]
