"""Measuring a network on validation sets: one image at a time, on the device, beside bicubic enlargement."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.control import SetScores, ValidationEvent
from traiNNer.data.image_io import Pixels
from traiNNer.data.resize import imresize
from traiNNer.data.sources import Pair
from traiNNer.engine.distributed import Processes
from traiNNer.engine.tile_size import FittingTiles
from traiNNer.engine.tiles import Tiles, Upscaler
from traiNNer.models.arithmetic import Arithmetic

RATIOS = ("edge_ratio", "residual_ratio")


class ImageSet(Protocol):
    """Whole pairs by index, such as `PairedImageDataset`."""

    @property
    def names(self) -> Sequence[str]:
        """Of every image, unique in the set."""
        ...

    def __len__(self) -> int: ...

    def pair(self, index: int) -> Pair:
        """LQ, GT and the name of one image."""
        ...


class Metric(Protocol):
    """A score per image."""

    higher_is_better: bool

    def __call__(self, sr: Tensor, gt: Tensor) -> Tensor:
        """(n, 3, h, w) in 0..1, twice; (n,) scores."""
        ...


class Shown(NamedTuple):
    """One validated image, for whoever wants to look at it. All (h, w, 3) of the GT's integer type."""

    set_name: str
    name: str
    number: int
    """Place of the image in its set."""
    lq: Pixels
    bicubic: Pixels
    output: Pixels
    gt: Pixels


@dataclass(frozen=True)
class ValidationSet:
    """Images and the name they have in the log."""

    name: str
    images: ImageSet


class Validator:
    """Runs the network over validation sets.

    Scores are kept per image. The scores of bicubic enlargement are computed once and belong to the state.

    Args:
        sets: In the order of the configuration; the first decides which weights are best.
        metrics: By label; the first decides which weights are best.
        scale: Height and width of the output over those of the input.
        arithmetic: How pixels become tensors.
        processes: Images are shared out among them.
        tile: Side of the tiles in LQ pixels; 0 takes images whole, while memory suffices; auto: what fits.
        overlap: See `models.inference.enhance`; with auto what the network needs.
    """

    def __init__(
        self,
        sets: Sequence[ValidationSet],
        metrics: Mapping[str, Metric],
        *,
        scale: int,
        arithmetic: Arithmetic,
        processes: Processes,
        tile: int | Literal["auto"] = 0,
        overlap: int = 32,
    ) -> None:
        self.sets, self.metrics = list(sets), dict(metrics)
        self._scale, self._arithmetic, self._processes = scale, arithmetic, processes
        self._tiles = FittingTiles(arithmetic.device) if tile == "auto" else Tiles(tile, overlap)
        self._baselines: dict[str, dict[str, Any]] = {}

    def run(
        self,
        model: Upscaler,
        *,
        step: int,
        position: int,
        lr_exhausted: bool,
        show: Callable[[Shown], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> ValidationEvent:
        """Score every image of every set; every process returns the same event.

        Args:
            model: What is measured; of an `SRModel` the running average where there is one.
            step: For the event, as `position` and `lr_exhausted`.
            show: Called with each image this process scored.
            progress: Called with the images done and their number.
        """
        total = sum(len(s.images) for s in self.sets)
        done = 0

        def measured(validation_set: ValidationSet, *, with_baseline: bool) -> Tensor:
            """One row an image: scores, bicubic scores, height, width, ratios; each process fills its own."""
            nonlocal done
            columns = 2 * len(self.metrics) + 2 + len(RATIOS)
            table = torch.zeros(len(validation_set.images), columns, dtype=torch.float64)
            for index in range(self._processes.rank, len(table), self._processes.world_size):
                table[index] = self._measure(
                    model, validation_set, index, with_baseline=with_baseline, show=show
                )
                done += self._processes.world_size
                if progress:
                    progress(min(done, total), total)
            return self._processes.sum(table)

        sets: dict[str, SetScores] = {}
        for validation_set in self.sets:
            known = self._known_baseline(validation_set)
            table = measured(validation_set, with_baseline=known is None)
            if known and known.get("sizes") != self._sizes(table):  # other files under the old names
                known, table = None, measured(validation_set, with_baseline=True)
            sets[validation_set.name] = self._scores(validation_set, table, known)
        finite = all(bool(torch.isfinite(p).all()) for p in model.released.parameters())
        return ValidationEvent(step, position, sets, weights_finite=finite, lr_exhausted=lr_exhausted)

    def rehearse(self, model: Upscaler) -> None:
        """Score the first image of every set, to see that it works."""
        for validation_set in self.sets:
            self._measure(model, validation_set, 0, with_baseline=True, show=None)

    @property
    def headline_name(self) -> str:
        """What decides which weights are best: `<set>/<metric>`."""
        return f"{self.sets[0].name}/{next(iter(self.metrics))}"

    def headline_identity(self, event: ValidationEvent) -> str:
        """What exactly the headline measures: set, metric and its settings, images and their sizes."""
        scores = next(iter(event.sets.values()))
        images = zlib.crc32(repr((scores.images, scores.sizes)).encode())
        return f"{self.headline_name}: {next(iter(self.metrics.values()))!r} of {images:08x}"

    def headline(self, event: ValidationEvent, metric: str | None = None) -> tuple[float, bool]:
        """Mean over the first set of a metric (the first by default), and whether higher is better."""
        label = metric or next(iter(self.metrics))
        scores = next(iter(event.sets.values()))
        return scores.means[label], self.metrics[label].higher_is_better

    def state_dict(self) -> dict[str, Any]:
        """The scores of bicubic enlargement, with what they were computed from."""
        return self._baselines

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them; those of other images or metrics are computed again."""
        self._baselines = dict(state)

    def _measure(
        self,
        model: Upscaler,
        validation_set: ValidationSet,
        index: int,
        *,
        with_baseline: bool,
        show: Callable[[Shown], None] | None,
    ) -> Tensor:
        lq, gt, name = validation_set.images.pair(index)
        assert gt is not None, "validation sets have ground truth"
        reference = self._tensor(gt)
        given = self._tensor(lq)
        output = self._tiles.enhance(model, given)
        scores = self._compare(output, reference)
        ratios = structure(output, reference, given)[0].cpu().double()
        bicubic = imresize(lq, self._scale) if with_baseline or show else None
        baseline = torch.zeros(len(self.metrics), dtype=torch.float64)
        if with_baseline and bicubic is not None:
            baseline = self._compare(self._tensor(bicubic), reference)
        if show and bicubic is not None:
            show(Shown(validation_set.name, name, index, lq, bicubic, to_pixels(output[0], gt.dtype), gt))
        return torch.cat([scores, baseline, torch.tensor(gt.shape[:2], dtype=torch.float64), ratios])

    def _tensor(self, pixels: Pixels) -> Tensor:
        return self._arithmetic.images(torch.from_numpy(pixels)[None])

    def _compare(self, output: Tensor, gt: Tensor) -> Tensor:
        return torch.stack([metric(output, gt)[0].cpu().double() for metric in self.metrics.values()])

    def _scores(
        self, validation_set: ValidationSet, table: Tensor, known: dict[str, Any] | None
    ) -> SetScores:
        width = len(self.metrics)
        columns = table.T.tolist()
        sizes = self._sizes(table)
        if known is None:
            scores = dict(zip(self.metrics, columns[width : 2 * width], strict=True))
            known = {"of": self._origin(validation_set), "sizes": sizes, "scores": scores}
            self._baselines[validation_set.name] = known
        return SetScores(
            images=list(validation_set.images.names),
            sizes=[(height, width) for height, width in sizes],
            metrics=dict(zip(self.metrics, columns[:width], strict=True)),
            baseline=known["scores"],
            ratios=dict(zip(RATIOS, columns[2 * width + 2 :], strict=True)),
        )

    def _sizes(self, table: Tensor) -> list[list[int]]:
        """Height and width of every ground truth."""
        first = 2 * len(self.metrics)
        return table[:, first : first + 2].int().tolist()

    def _known_baseline(self, validation_set: ValidationSet) -> dict[str, Any] | None:
        stored = self._baselines.get(validation_set.name)
        return stored if stored and stored["of"] == self._origin(validation_set) else None

    def _origin(self, validation_set: ValidationSet) -> list[str]:
        metrics = [f"{label}: {metric!r}" for label, metric in self.metrics.items()]
        return [str(self._scale), *metrics, *validation_set.images.names]


def structure(output: Tensor, gt: Tensor, lq: Tensor) -> Tensor:
    """How much structure there is, against the ground truth; (n, 3, h, w) three times to (n, 2), see RATIOS.

    edge_ratio = mean |Sobel(output)| / mean |Sobel(gt)| of grey images;
    residual_ratio = mean |output - bicubic| / mean |gt - bicubic|, 0 for a network that only interpolates.
    NaN where the ground truth has no structure.
    """
    # with antialias torch takes the kernel of MATLAB and Pillow (a = -0.5)
    bicubic = F.interpolate(lq, gt.shape[2:], mode="bicubic", antialias=True)
    edges = _edges(output) / _edges(gt)
    return torch.stack([edges, _distance(output, bicubic) / _distance(gt, bicubic)], dim=1)


def _edges(images: Tensor) -> Tensor:
    slope = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    across, down = F.conv2d(images.mean(1, keepdim=True), torch.stack([slope, slope.T])[:, None]).unbind(1)
    return torch.hypot(across, down).mean((1, 2))


def _distance(left: Tensor, right: Tensor) -> Tensor:
    return (left - right).abs().mean((1, 2, 3))


def to_pixels(image: Tensor, dtype: Any) -> Pixels:
    """(3, h, w), 0 to 1, to (h, w, 3) of an unsigned integer dtype, rounded."""
    white = 65535.0 if dtype == np.uint16 else 255.0
    return image.clamp(0, 1).mul(white).round().permute(1, 2, 0).cpu().numpy().astype(dtype)
