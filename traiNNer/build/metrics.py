"""The metrics of a validation, and which of its images they cannot measure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from traiNNer.data.single_dataset import MeasuredDataset, SingleImageDataset
from traiNNer.data.training_set import lq_headers
from traiNNer.metrics import METRICS, Metric
from traiNNer.options import Options
from traiNNer.registry import ConfigError
from traiNNer.training.validation import needs_gt

_log = logging.getLogger(__name__)

KEEP_IMAGES = "val.save_img: true keeps the enlarged images"
_SMALL = 512
"""GT pixels: every metric takes images that are larger each way."""
_SIZES_TRIED = 64


class MetricError(ConfigError):
    """Metrics that cannot be made, for which no data set is to blame."""


def metric_spec(label: str, spec: Any) -> dict[str, Any]:
    """`psnr: {type: calculate_psnr, crop_border: 2}` and `psnr: {better: higher}` as a registry reads them."""
    given = spec if isinstance(spec, Mapping) else {}
    return {"type": label, **{key: value for key, value in given.items() if key != "better"}}


def build_metrics(options: Options) -> dict[str, Metric]:
    """By label, as the options describe them; PSNR and SSIM where they name none; none where they are off.

    Raises:
        MetricError: For every metric without the weights that it needs, by its path.
    """
    metrics: dict[str, Any] = {}
    problems: list[str] = []
    for label, spec in metric_specs(options).items():
        try:
            metrics[label] = METRICS.build({"crop_border": options.scale, **spec})
        except ConfigError as error:
            problems += [f"val.metrics.{label}: {line}" for line in error.problems]
    if problems:
        raise MetricError(problems)
    return metrics


def metric_specs(options: Options) -> dict[str, dict[str, Any]]:
    """By label, as a registry reads them."""
    val = options.val
    specs = (val.metrics or {"psnr": {}, "ssim": {}}) if val.metrics_enabled else {}
    return {label: metric_spec(label, spec) for label, spec in specs.items()}


def measurable(options: Options, sets: Mapping[str, MeasuredDataset]) -> dict[str, Metric]:
    """The metrics that at least one of the sets (by name) can be measured by; says what is left out, and why."""
    metrics = build_metrics(options)
    bare = [name for name, images in sets.items() if isinstance(images, SingleImageDataset)]
    used, said = without_gt(metrics, bare, all_bare=len(bare) == len(sets))
    if said:
        _log.warning("%s", said)
    return {label: metrics[label] for label in used}


def without_gt(metrics: Mapping[str, Any], bare: Sequence[str], *, all_bare: bool) -> tuple[list[str], str]:
    """What is measured where some sets have no ground truth.

    Args:
        metrics: By label, themselves or their classes.
        bare: Names of the sets without ground truth.
        all_bare: There are no others.

    Returns:
        The labels of the metrics that measure a set, and what is to be said of the others, or nothing.
    """
    if not bare or not metrics:
        return list(metrics), ""
    left_out = [label for label, metric in metrics.items() if needs_gt(metric)]
    said = f"{', '.join(bare)}: images without ground truth are enlarged"
    if left_out:
        said += f"; val.metrics that compare with it are left out: {', '.join(left_out)}"
    used = [label for label in metrics if not (all_bare and label in left_out)]
    if not used:
        said += (
            ". Nothing is measured: no weights are the best ones, and no automation can judge by a validation "
            "(val.metrics: {niqe: {type: niqe}} needs no ground truth)"
        )
    return used, said


def unmeasurable(images: MeasuredDataset, metrics: Callable[[], Mapping[str, Metric]]) -> dict[int, str]:
    """Why images are too small for a metric, by index; judged by the sizes in the headers."""
    bare = isinstance(images, SingleImageDataset)
    sides = images.scale * (images.headers if isinstance(images, SingleImageDataset) else lq_headers(images))
    small = np.flatnonzero((sides[:, 0] > 0) & (sides.min(axis=1, initial=_SMALL) < _SMALL)).tolist()
    small.sort(key=lambda index: int(sides[index].min()))
    verdicts: dict[tuple[int, int], str] = {}
    for index in small:
        size = (int(sides[index, 0]), int(sides[index, 1]))
        if size not in verdicts and len(verdicts) < _SIZES_TRIED:
            used = {k: m for k, m in metrics().items() if not (bare and needs_gt(m))}
            verdicts[size] = _fault(size, used)
    found = {index: verdicts.get((int(sides[index, 0]), int(sides[index, 1])), "") for index in small}
    return {index: fault for index, fault in found.items() if fault}


@torch.no_grad()
def _fault(size: tuple[int, int], metrics: Mapping[str, Metric]) -> str:
    """What the first metric that does not take images of a size says, or nothing."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(1, 3, *size, generator=generator) for _ in range(2))
    for label, metric in metrics.items():
        try:
            metric(first, second)
        except (ValueError, RuntimeError, IndexError) as error:
            said = str(error).strip().split("\n")[0]
            return f"is {size[1]}x{size[0]} (width x height), too small for val.metrics.{label}: {said}"
    return ""
