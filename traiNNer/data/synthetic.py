"""Synthetic photographs of the dead-leaves kind, so that a first run needs neither download nor data.

Occluding shapes of all sizes have the edges and the scale statistics of photographs (Lee, Mumford, Huang
2001), and networks trained on them do nearly as well on photographs (Achddou, Gousseau, Ladjal 2021): 40 such
images took a plain network of 10,000 parameters to 35.8 dB on Set5 x2 in 1,200 steps, where bicubic has 33.7.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from traiNNer.data.images.image_io import read_image, write_image
from traiNNer.data.images.resize import shrink
from traiNNer.data.pairs.pairing import find_images
from traiNNer.wording import counted

LOG = logging.getLogger(__name__)

_SETS = {"train": (40, 512), "val": (6, 256)}
"""Images and their side in pixels, per folder."""
_SET_STRIDE = 1 << 20
"""Between the indices of the sets, so that no two share an image."""
_THREADS = 4
_SHAPES = 1.0 / 350.0
"""Shapes per pixel of the image."""
_GROUND = 30
"""Large shapes that cover the canvas before those of all sizes."""
_SMALLEST = 2.5
"""Radius of the smallest shape in pixels of the image."""
_EXPONENT = 2.4
"""Radii are distributed as r ** -exponent; 3 would be scale-invariant, but takes ten times the shapes."""


_RAMP = np.arange(256)[:, None] / 255


def ensure_demo_data(folder: str | Path, scale: int) -> bool:
    """Make what is missing of the demo data, with progress on a terminal; return whether anything was.

    An existing folder is only given LR images of another scale; its ground truth is never touched.
    """
    folder = Path(folder)
    if folder.exists():
        wanting = [hr for name in _SETS if (hr := folder / name / "HR").is_dir()]
        wanting = [hr for hr in wanting if not hr.with_name(f"LRx{scale}").exists()]
        for hr in wanting:
            LOG.info("%s is missing: making it from %s", hr.with_name(f"LRx{scale}"), hr)
            _add_lr(hr, scale)
        return bool(wanting)
    total = sum(count for count, _ in _SETS.values())
    photographs = counted(total, "synthetic photograph")
    LOG.info("%s is missing: drawing %s, so that this run has data", folder, photographs)
    start = time.monotonic()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("demo data", total=total)
        make_demo_data(
            folder, scales=[scale], sets=_SETS, progress=lambda done, _: bar.update(task, completed=done)
        )
    LOG.info("%s is ready after %.1f s; remove it to have it drawn again", folder, time.monotonic() - start)
    return True


def make_demo_data(
    folder: str | Path,
    *,
    scales: Sequence[int] = (2,),
    sets: Mapping[str, tuple[int, int]] = _SETS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `train/HR`, `train/LRx2`, `val/HR` ...: synthetic photographs and their LR images by our bicubic.

    The folder appears when all is written. The same seed gives the same images; across machines all but a
    few values, where their libraries round differently.

    Args:
        folder: Must not exist.
        scales: An LR folder for each.
        sets: Number of images and their side in pixels, per subfolder.
        seed: Of the images.
        progress: Called with the number of images done and of all.

    Raises:
        FileExistsError: If there is such a folder already.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; remove it to draw the demo data again")
    jobs = [
        _Job(name, size, seed, _SET_STRIDE * number + index)
        for number, (name, (count, size)) in enumerate(sets.items())
        for index in range(count)
    ]
    with _in_place(folder) as beside, ThreadPoolExecutor(_THREADS) as pool:
        for done, _ in enumerate(pool.map(lambda job: _write(beside, job, scales), jobs), 1):
            if progress:
                progress(done, len(jobs))


class _Job(NamedTuple):
    """One photograph to draw."""

    folder: str
    size: int
    seed: int
    number: int


def _write(folder: Path, job: _Job, scales: Sequence[int]) -> None:
    image = dead_leaves(job.size, job.seed, job.number)
    file = f"leaves_{job.number % _SET_STRIDE:03}.png"
    write_image(folder / job.folder / "HR" / file, image)
    for scale in scales:
        write_image(folder / job.folder / f"LRx{scale}" / file, shrink(image, scale))


def _add_lr(hr: Path, scale: int) -> None:
    with _in_place(hr.with_name(f"LRx{scale}")) as beside:
        for name in find_images(hr):
            write_image((beside / name).with_suffix(".png"), shrink(read_image(hr / name), scale))


@contextmanager
def _in_place(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that is moved into its place at the end, or removed if that fails."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        if not folder.exists():  # another process may have been faster
            beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def dead_leaves(size: int, seed: int, index: int) -> NDArray[np.uint8]:
    """One synthetic photograph, (size, size, 3) RGB; a pure function of its arguments."""
    rng = np.random.Generator(np.random.Philox(key=(seed, index)))
    side = 2 * size
    clouds = _clouds(side, rng)
    canvas = np.empty((3, side, side), np.uint8)  # planes: looking up one channel is five times as fast
    palette = _palette(rng)
    _paint(canvas, np.array([[0, 0], [side, 0], [side, side], [0, side]], float), palette, clouds, rng)
    for radius in _radii(size, rng):
        _paint(canvas, _outline(radius, rng) + rng.random(2) * side, palette, clouds, rng)
    planes = [cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA) for plane in canvas]
    image = np.stack(planes, axis=2).astype(np.float32)
    image += rng.normal(0.0, rng.uniform(0.0, 1.5), (size, size, 1)).astype(np.float32)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _radii(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Radii in pixels of the canvas, in the order of painting: a ground of large shapes, then all sizes."""
    largest, smallest, power = 0.5 * size, 2 * _SMALLEST, 1.0 - _EXPONENT
    ground = largest * np.exp(-1.2 * rng.random(_GROUND))
    share = rng.random(round(size * size * _SHAPES))
    return np.concatenate(
        [ground, (smallest**power + share * (largest**power - smallest**power)) ** (1 / power)]
    )


def _palette(rng: np.random.Generator) -> NDArray[np.float64]:
    """(12, 3) colours that go together: a few hues, mostly dull, from dark to bright."""
    grey = 255 * rng.beta(1.0, 1.3, (12, 1))
    hues = rng.normal(0, 1, (3, 3))
    colour = hues[rng.integers(0, 3, 12)] * rng.gamma(1.2, 0.15, (12, 1)) * (grey + 30)
    return grey + colour - colour.mean(axis=1, keepdims=True)


def _clouds(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(side, side) noise with as much contrast in every octave, standard deviation 1."""
    halvings = range(side.bit_length() - 3, -1, -1)
    total = np.zeros((1, 1), np.float32)
    for cells in (-(-side >> halving) for halving in halvings):
        total = cv2.resize(total, (cells, cells), interpolation=cv2.INTER_CUBIC)
        total += rng.standard_normal((cells, cells), dtype=np.float32)
    return total / total.std()


def _outline(radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(points, 2) x and y around 0: an ellipse, a polygon, a box, a star-like blob or a curved stroke."""
    kind = rng.integers(0, 5)
    if kind == 4:
        return _stroke(radius, rng)
    corners = (40, int(rng.integers(3, 7)), 4, 60)[kind]
    angles = np.arange(corners) * (2 * np.pi / corners)
    reach = np.ones(corners)
    if kind == 1:
        angles += rng.normal(0, 0.3, corners)
    elif kind == 3:
        for wave in range(2, 7):
            reach += rng.normal(0, 0.5 / wave) * np.cos(wave * angles + rng.random() * 2 * np.pi)
    points = radius * reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points[:, 1] *= rng.uniform(0.25, 1.0)
    return points @ _rotation(rng)


def _stroke(radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A bent band, thin for its length: twigs, cables, letters."""
    along = np.linspace(-1.5, 1.5, 24)
    bend = rng.normal(0, 0.5) * along**2 + rng.normal(0, 0.3) * along**3
    thickness = rng.uniform(0.04, 0.25)
    upper = np.stack([along, bend + thickness], axis=1)
    lower = np.stack([along, bend - thickness], axis=1)[::-1]
    return radius * np.concatenate([upper, lower]) @ _rotation(rng)


def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.random() * 2 * np.pi
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _paint(
    canvas: NDArray[np.uint8],
    outline: NDArray[np.float64],
    palette: NDArray[np.float64],
    clouds: NDArray[np.float32],
    rng: np.random.Generator,
) -> None:
    """Fill a shape with a pattern in two colours."""
    side = canvas.shape[1]
    left, top = (int(low) for low in np.clip(outline.min(axis=0), 0, side))
    right, bottom = (int(high) + 1 for high in np.clip(outline.max(axis=0), -1, side - 1))
    base, other = (
        palette[rng.integers(0, len(palette), 2)] + rng.normal(0, 15, (2, 1)) + rng.normal(0, 4, (2, 3))
    )
    if left >= right or top >= bottom:
        return
    colours = np.clip(base + _RAMP * (other - base), 0, 255).astype(np.uint8)
    pattern = _pattern(bottom - top, right - left, clouds, rng)
    mask = np.zeros(pattern.shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(outline - (left, top)).astype(np.int32)], 1)
    for plane, lookup in zip(canvas, colours.T, strict=True):
        cv2.copyTo(cv2.LUT(pattern, lookup), mask, plane[top:bottom, left:right])


def _pattern(
    height: int, width: int, clouds: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(height, width), 0 to 255: where between its two colours each pixel of a shape lies."""
    kind = rng.integers(0, 6)
    level, angle, period, at_x, at_y = rng.random(5)
    strength = 255 * rng.gamma(1.5, 0.15)
    across = math.cos(2 * np.pi * angle) * np.arange(width, dtype=np.float32)
    along = across + math.sin(2 * np.pi * angle) * np.arange(height, dtype=np.float32)[:, None]
    if kind <= 2:
        side = len(clouds)
        top, left = int(at_y * (side - height + 1)), int(at_x * (side - width + 1))
        value = strength * clouds[top : top + height, left : left + width]
    elif kind <= 4:
        value = np.sin(along * np.float32(2 * np.pi / (3.0 * 30.0**period)))  # 3 to 90 pixels of the canvas
        value = 2 * strength * (value if kind == 3 else np.sign(value))
    else:
        value = np.float32(0)
    value = value + 255 * level + (rng.normal(0, 128) / max(height, width)) * along
    return np.clip(value, 0, 255, dtype=np.float32).astype(np.uint8)
