"""Measuring a network on validation sets: one image at a time, on the device, beside bicubic enlargement."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.events import SetScores, ValidationEvent
from traiNNer.inference.images import ImageSet, ReadPair, Shown, read_ahead
from traiNNer.inference.network import EvalNetwork
from traiNNer.inference.tile_size import FittingTiles
from traiNNer.inference.tiles import Tiles
from traiNNer.models.precision import Precision
from traiNNer.runtime.distributed import DistributedContext

RATIOS = ("edge_ratio", "residual_ratio")


class Metric(Protocol):
    """A score per image."""

    higher_is_better: bool

    def __call__(self, sr: Tensor, gt: Tensor) -> Tensor:
        """(n, 3, h, w) in 0..1, twice; (n,) scores."""
        ...


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
        precision: How pixels become tensors.
        processes: Images are shared out among them.
        tile: Side of the tiles in LQ pixels; 0 takes images whole, while memory suffices; auto: what fits.
        overlap: See `inference.network.upscale`; with auto what the network needs.
    """

    def __init__(
        self,
        sets: Sequence[ValidationSet],
        metrics: Mapping[str, Metric],
        *,
        scale: int,
        precision: Precision,
        processes: DistributedContext,
        tile: int | Literal["auto"] = 0,
        overlap: int = 32,
    ) -> None:
        self.sets, self.metrics = list(sets), dict(metrics)
        self._scale, self._precision, self._processes = scale, precision, processes
        self._tiles = FittingTiles(precision.device) if tile == "auto" else Tiles(tile, overlap)
        self._width = 2 * len(self.metrics) + len(RATIOS)  # of a row of scores
        self._baselines: dict[str, dict[str, Any]] = {}

    def run(
        self,
        model: EvalNetwork,
        *,
        step: int,
        position: int,
        lr_exhausted: bool,
        show: Callable[[Shown], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> ValidationEvent:
        """Score every image of every set; every process returns the same event.

        Args:
            model: What is measured.
            step: For the event, as `position` and `lr_exhausted`.
            show: Called with each image this process scored.
            progress: Called with the images done and their number.
        """
        total = sum(len(s.images) for s in self.sets)
        done = 0

        def measured(validation_set: ValidationSet, *, with_baseline: bool) -> Tensor:
            """One row an image: scores, bicubic scores, ratios, height, width; each process fills its own.

            The device is read once, at the end.
            """
            nonlocal done
            table = torch.zeros(len(validation_set.images), self._width + 2, dtype=torch.float64)
            own = range(self._processes.rank, len(table), self._processes.world_size)
            scores: list[Tensor] = []
            for image in read_ahead(validation_set.images, own, self._precision.device):
                scores.append(
                    self._measure(model, validation_set.name, image, with_baseline=with_baseline, show=show)
                )
                table[image.number, self._width :] = torch.tensor(image.gt.shape[1:3])
                done += self._processes.world_size
                if progress:
                    progress(min(done, total), total)
            if scores:
                table[own.start :: own.step, : self._width] = torch.stack(scores).cpu().double()
            return self._processes.sum(table)

        sets: dict[str, SetScores] = {}
        for validation_set in self.sets:
            known = self._known_baseline(validation_set)
            table = measured(validation_set, with_baseline=known is None)
            if known and known.get("sizes") != self._sizes(table):  # other files under the old names
                known, table = None, measured(validation_set, with_baseline=True)
            sets[validation_set.name] = self._scores(validation_set, table, known)
        finite = torch.stack([torch.isfinite(p).all() for p in model.net.parameters()]).all()
        return ValidationEvent(step, position, sets, weights_finite=bool(finite), lr_exhausted=lr_exhausted)

    def rehearse(self, model: EvalNetwork) -> None:
        """Score the first image of every set, to see that it works."""
        for validation_set in self.sets:
            for image in read_ahead(validation_set.images, [0], self._precision.device):
                self._measure(model, validation_set.name, image, with_baseline=True, show=None)

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
        model: EvalNetwork,
        set_name: str,
        image: ReadPair,
        *,
        with_baseline: bool,
        show: Callable[[Shown], None] | None,
    ) -> Tensor:
        """Scores, bicubic scores (0 where not asked for) and ratios of one image, on the device."""
        given, reference = self._precision.images(image.lq), self._precision.images(image.gt)
        output = self._tiles.upscale(model, given)
        lq, gt = image.lq[0].numpy(), image.gt[0].numpy()
        shown = Shown(set_name, image.name, image.number, lq, gt, output, self._scale)
        scores = self._compare(output, reference)
        baseline = torch.zeros_like(scores)
        if with_baseline:
            bicubic = self._precision.images(torch.from_numpy(shown.bicubic)[None])
            baseline = self._compare(bicubic, reference)
        ratios = structure(output, reference, given)[0].to(scores.dtype)
        if show:
            show(shown)
        return torch.cat([scores, baseline, ratios])

    def _compare(self, output: Tensor, gt: Tensor) -> Tensor:
        return torch.stack([metric(output, gt)[0] for metric in self.metrics.values()])

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
            ratios=dict(zip(RATIOS, columns[2 * width : -2], strict=True)),
        )

    def _sizes(self, table: Tensor) -> list[list[int]]:
        """Height and width of every ground truth."""
        return table[:, self._width :].int().tolist()

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
    grey, kernel = images.mean(1, keepdim=True), _sobel(images.device, images.dtype)
    # a processor takes strips: the same bits in 16 instead of 107 ms for 1356 x 2040 pixels
    rows = 64 if images.device.type == "cpu" else grey.shape[2]
    strips = [F.conv2d(grey[:, :, top : top + rows + 2], kernel) for top in range(0, grey.shape[2] - 2, rows)]
    across, down = torch.cat(strips, dim=2).unbind(1)
    return torch.hypot(across, down).mean((1, 2))


@lru_cache(maxsize=4)  # a copy to the device would wait for all that it has yet to do
def _sobel(device: torch.device, dtype: torch.dtype) -> Tensor:
    slope = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    return torch.stack([slope, slope.T])[:, None].to(device, dtype)


def _distance(left: Tensor, right: Tensor) -> Tensor:
    return (left - right).abs().mean((1, 2, 3))
