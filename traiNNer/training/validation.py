"""Measuring a network on validation sets: one image at a time, on the device, beside bicubic upscaling."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from traiNNer.events import SetScores, ValidationEvent
from traiNNer.inference.images import ImageSet, ReadPair, Shown, bicubic, read_ahead
from traiNNer.inference.network import EvalNetwork
from traiNNer.inference.tile_size import FittingTiles
from traiNNer.inference.tiles import Tiles
from traiNNer.metrics import Metric
from traiNNer.models.colour import as_rgb
from traiNNer.models.precision import Precision
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.training.agreement import all_or_none
from traiNNer.training.structure import RATIOS, structure

_FINITE = "finite"  # of a record: 1 where the output consists of finite numbers
_HALF_A_LEVEL = 0.5 / 255
T = TypeVar("T")


@dataclass(frozen=True)
class ValidationSet:
    """Images and the name they have in the log."""

    name: str
    images: ImageSet
    has_gt: bool = True
    """Without ground truth images are enlarged and shown, and scored by the metrics that need none."""


def needs_gt(metric: Metric) -> bool:
    """Whether a metric compares with the ground truth, as nearly all do."""
    return getattr(metric, "needs_gt", True)


class Validator:
    """Runs the network over validation sets.

    Scores are kept per image. The scores of bicubic upscaling are computed once and belong to the state.

    Args:
        sets: Those with ground truth come first; the first decides which weights are best.
        metrics: By label; the first decides which weights are best. Empty: images are only shown.
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
        self._baselines: dict[str, dict[str, Any]] = {}
        self._checksums: dict[str, int] = {}

    def run(
        self,
        model: EvalNetwork,
        *,
        step: int,
        position: int,
        lr_exhausted: bool,
        show: Callable[[Shown], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
        interruptible: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> ValidationEvent:
        """Score every image of every set; every process returns the same event.

        Args:
            model: What is measured; of an `SRModel` the EMA network where there is one.
            step: For the event, as `position` and `lr_exhausted`.
            show: Called with each image this process scored.
            progress: Called with the images done and their number.
            interruptible: Entered where no other process waits for this one.
        """
        total = sum(len(s.images) for s in self.sets)
        done = itertools.count(self._processes.world_size, self._processes.world_size)

        def tick() -> None:
            if progress:
                progress(min(next(done), total), total)

        course = _Course(show, tick, interruptible)
        sets = {s.name: self._score_set(model, s, course) for s in self.sets}
        finite = torch.stack([torch.isfinite(p).all() for p in model.net.parameters()]).all()
        return ValidationEvent(step, position, sets, weights_finite=bool(finite), lr_exhausted=lr_exhausted)

    def rehearse(self, model: EvalNetwork) -> list[str]:
        """Score the first image of every set, to see that it works; returns those with outputs not finite."""
        found: list[str] = []
        for validation_set in self.sets:
            for image in read_ahead(validation_set.images, [0], self._precision.device):
                if not self._measure(model, validation_set, image, show=None)[-1]:
                    found.append(f"the output for {validation_set.name}/{image.name}")
                self._measure_bicubic(validation_set, image)
        return found

    @property
    def headline_name(self) -> str:
        """What decides which weights are best: `<set>/<metric>`."""
        return f"{self.sets[0].name}/{next(iter(self.metrics))}"

    def headline_identity(self, event: ValidationEvent) -> str:
        """What exactly the headline of the latest run measures: set, metric and its settings, names and pixels."""
        name, scores = next(iter(event.sets.items()))
        images = zlib.crc32(repr((scores.images, self._checksums[name])).encode())
        return f"{self.headline_name}: {next(iter(self.metrics.values()))!r} of {images:08x}"

    def headline(self, event: ValidationEvent, metric: str | None = None) -> tuple[float, bool]:
        """Mean over the first set of a metric (the first by default), and whether higher is better."""
        label = metric or next(iter(self.metrics))
        scores = next(iter(event.sets.values()))
        return scores.means[label], self.metrics[label].higher_is_better

    def state_dict(self) -> dict[str, Any]:
        """The scores of bicubic upscaling, with what they were computed from."""
        return self._baselines

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them; those of other images or metrics are computed again."""
        self._baselines = dict(state)

    def _score_set(
        self,
        model: EvalNetwork,
        validation_set: ValidationSet,
        course: _Course,
    ) -> SetScores:
        """One record an image, shared out among the processes; the device is read once, at the end."""
        metrics, ratios = self._metrics_of(validation_set), RATIOS if validation_set.has_gt else ()

        def measured() -> dict[int, _Record]:
            own: list[tuple[int, tuple[int, int], int]] = []
            scores: list[Tensor] = []
            for image in self._share(validation_set):
                scores.append(self._measure(model, validation_set, image, show=course.show))
                size = (image.lq.shape[1] * self._scale, image.lq.shape[2] * self._scale)
                own.append((image.number, size, image.checksum))
                course.tick()
            labels = [*metrics, *ratios, _FINITE]
            return {
                number: _Record(size, checksum, dict(zip(labels, row, strict=True)))
                for (number, size, checksum), row in zip(own, _on_host(scores), strict=True)
            }

        records = self._gathered(measured, course)
        sizes = [record.size for record in records]
        self._checksums[validation_set.name] = zlib.crc32(repr([r.checksum for r in records]).encode())
        return SetScores(
            images=list(validation_set.images.names),
            sizes=sizes,
            metrics={label: [record.scores[label] for record in records] for label in metrics},
            baseline=self._baseline(validation_set, sizes, course),
            ratios={label: [record.scores[label] for record in records] for label in ratios},
            outputs_finite=all(record.scores[_FINITE] for record in records),
        )

    def _baseline(
        self, validation_set: ValidationSet, sizes: list[tuple[int, int]], course: _Course
    ) -> dict[str, list[float]]:
        """The scores of bicubic upscaling; images are read for them once in a run."""
        metrics = self._metrics_of(validation_set)
        if not metrics:
            return {}
        of, plain_sizes = self._origin(validation_set), [list(size) for size in sizes]
        known = self._baselines.get(validation_set.name)
        if known is None or known["of"] != of or known.get("sizes") != plain_sizes:

            def measured() -> dict[int, list[float]]:
                numbers: list[int] = []
                scores: list[Tensor] = []
                for image in self._share(validation_set):
                    numbers.append(image.number)
                    scores.append(self._measure_bicubic(validation_set, image))
                return dict(zip(numbers, _on_host(scores), strict=True))

            rows = self._gathered(measured, course)
            columns = [list(column) for column in zip(*rows, strict=True)]
            known = {"of": of, "sizes": plain_sizes, "scores": dict(zip(metrics, columns, strict=True))}
            self._baselines[validation_set.name] = known
        return known["scores"]

    def _share(self, validation_set: ValidationSet) -> Iterator[ReadPair]:
        """The images of a set that this process measures."""
        own = range(self._processes.rank, len(validation_set.images), self._processes.world_size)
        return read_ahead(validation_set.images, own, self._precision.device)

    def _gathered(self, measured: Callable[[], dict[int, T]], course: _Course) -> list[T]:
        """What all processes measured, in the order of the images; the failure of one fails all."""
        found: dict[int, T] = {}

        def work() -> dict[int, T]:
            with course.interruptible():
                return measured()

        for share in all_or_none(self._processes, work):
            found |= share
        return [found[number] for number in sorted(found)]

    def _metrics_of(self, validation_set: ValidationSet) -> dict[str, Metric]:
        return {k: m for k, m in self.metrics.items() if validation_set.has_gt or not needs_gt(m)}

    def _measure(
        self,
        model: EvalNetwork,
        validation_set: ValidationSet,
        image: ReadPair,
        *,
        show: Callable[[Shown], None] | None,
    ) -> Tensor:
        """Scores and, against a ground truth, ratios of one image, on the device."""
        given = self._precision.images(image.lq)
        output = self._tiles.upscale(model, given)
        reference = output if image.gt is None else self._precision.images(image.gt)
        scores = self._compare(validation_set, output, reference)
        ratios = [structure(output, reference, given)[0].to(scores.dtype)] if image.gt is not None else []
        if show:
            lq, gt = image.lq[0].numpy(), None if image.gt is None else image.gt[0].numpy()
            color = self._precision.color
            show(Shown(validation_set.name, image.name, image.number, lq, gt, output, self._scale, color))
        return torch.cat([scores, *ratios, torch.isfinite(output).all()[None].to(scores.dtype)])

    def _measure_bicubic(self, validation_set: ValidationSet, image: ReadPair) -> Tensor:
        """Scores of one image upscaled by MATLAB's bicubic; NaN where that is the ground truth already.

        Such an image, as a black frame, has nothing to learn and would decide every mean.
        """
        pixels = bicubic(image.lq[0].numpy(), self._scale)
        enlarged = self._precision.images(torch.from_numpy(pixels)[None])
        if image.gt is None:
            return self._compare(validation_set, enlarged, enlarged)
        gt = self._precision.images(image.gt)
        met = (enlarged - gt).abs().amax() < _HALF_A_LEVEL
        return torch.where(met, torch.nan, self._compare(validation_set, enlarged, gt))

    def _compare(self, validation_set: ValidationSet, output: Tensor, gt: Tensor) -> Tensor:
        if self._precision.color == "grey":  # scored as the pictures that they are shown as
            output, gt = as_rgb(output, "grey"), as_rgb(gt, "grey")
        scores = [metric(output, gt)[0] for metric in self._metrics_of(validation_set).values()]
        return torch.stack(scores) if scores else output.new_zeros(0)

    def _origin(self, validation_set: ValidationSet) -> list[str]:
        metrics = [f"{label}: {metric!r}" for label, metric in self.metrics.items()]
        pixels = f"pixels: {self._checksums[validation_set.name]:08x}"
        return [str(self._scale), *metrics, *validation_set.images.names, pixels]


class _Course(NamedTuple):
    """What is done around the measuring of each image; see `Validator.run`."""

    show: Callable[[Shown], None] | None
    tick: Callable[[], None]
    interruptible: Callable[[], AbstractContextManager[None]]


class _Record(NamedTuple):
    """What was measured of one image."""

    size: tuple[int, int]
    """Height and width of the ground truth, in pixels."""
    checksum: int
    scores: dict[str, float]
    """Every metric, RATIOS, and _FINITE."""


def _on_host(rows: list[Tensor]) -> list[list[float]]:
    return torch.stack(rows).cpu().double().tolist() if rows else []
