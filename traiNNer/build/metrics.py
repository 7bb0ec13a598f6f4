"""The metrics of a validation, and which of its images they cannot measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from traiNNer.data.degraded_dataset import ImageDataset
from traiNNer.metrics import METRICS
from traiNNer.options import Options
from traiNNer.training.validation import Metric

_SMALL = 512
"""GT pixels: every metric takes images that are larger each way."""
_SIZES_TRIED = 64


def metric_spec(label: str, spec: Any) -> dict[str, Any]:
    """`psnr: {type: calculate_psnr, crop_border: 2}` and `psnr: {better: higher}` as a registry reads them."""
    given = spec if isinstance(spec, Mapping) else {}
    return {"type": label, **{key: value for key, value in given.items() if key != "better"}}


def build_metrics(options: Options) -> dict[str, Metric]:
    """By label, as the options describe them; PSNR and SSIM where they name none; none where they are off."""
    val = options.val
    specs = (val.metrics or {"psnr": {}, "ssim": {}}) if val.metrics_enabled else {}
    metrics: dict[str, Any] = {}
    for label, spec in specs.items():
        metrics[label] = METRICS.build({"crop_border": options.scale, **metric_spec(label, spec)})
    return metrics


def unmeasurable(images: ImageDataset, metrics: Callable[[], Mapping[str, Metric]]) -> dict[int, str]:
    """Why images are too small for a metric, by index; judged by the sizes in the headers."""
    sides = images.headers * images.scale
    small = np.flatnonzero((sides[:, 0] > 0) & (sides.min(axis=1, initial=_SMALL) < _SMALL)).tolist()
    small.sort(key=lambda index: int(sides[index].min()))
    verdicts: dict[tuple[int, int], str] = {}
    for index in small:
        size = (int(sides[index, 0]), int(sides[index, 1]))
        if size not in verdicts and len(verdicts) < _SIZES_TRIED:
            verdicts[size] = _fault(size, metrics())
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
