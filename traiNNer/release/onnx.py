"""A network as one ONNX file for any batch and size, compared with the network itself before it is trusted."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from traiNNer.archs import NetworkFacts
from traiNNer.archs.fuse import fuse
from traiNNer.archs.padding import allowed_size
from traiNNer.registry import ConfigError
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.wording import counted

OPSET = 20
SIZES = ((1, 24, 20), (2, 33, 17), (1, 71, 45))
"""Batch, height and width of the comparison: below, at and above a window of attention, odd and even."""
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.05}
"""Largest difference of values from 0 to 1 that passes, by dtype.

A wrong graph is off by far more; float16 has 11 bits for each of many sums.
"""


class Comparison(NamedTuple):
    """An ONNX file against the network in float32, on noise."""

    shape: tuple[int, ...]
    """Shape of the input, (n, c, h, w)."""
    difference: float
    """Largest difference of a value, of 0 to 1."""
    not_finite: int
    """Values of the output that are NaN or infinite."""


def require_onnx() -> None:
    """Raise ConfigError if the packages that this takes are not installed."""
    missing = [
        name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ConfigError(f'--onnx: needs {", ".join(missing)}: pip install -e ".[onnx]"')


def export_onnx(
    net: nn.Module, facts: NetworkFacts, path: Path, *, dtype: torch.dtype, metadata: Mapping[str, str]
) -> None:
    """Write the network, folded to fewer operations, with input `input` and output `output`, 0 to 1.

    Batch, height and width are free (but for `facts.min_size` and `facts.multiple_of`); the output is not clamped.
    Input and output have the dtype of the weights.
    """
    folded = fuse(net).to(dtype)
    size = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        program = torch.onnx.export(
            folded,
            (noise((2, facts.channels, *taken_size(facts, 36, 40))).to(dtype),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: size, 2: size, 3: size},),
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(metadata)
    with atomic_write(path) as partial:
        program.save(partial, external_data=False)


def compare_onnx(
    path: Path, net: nn.Module, facts: NetworkFacts, *, dtype: torch.dtype
) -> tuple[list[Comparison], list[str]]:
    """Run the file in onnxruntime at three sizes: what was seen, and what is wrong with it."""
    import onnxruntime  # takes a second, and may be missing

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    comparisons: list[Comparison] = []
    for batch, height, width in SIZES:
        lq = noise((batch, facts.channels, *taken_size(facts, height, width)))
        with torch.inference_mode():
            expected = net(lq)
        (made,) = session.run(None, {"input": lq.to(dtype).numpy()})
        output = torch.from_numpy(made).float()
        comparisons.append(compared(output, expected, lq))
    return comparisons, problems_in(comparisons, _TOLERANCE[dtype])


def compared(output: Tensor, expected: Tensor, lq: Tensor) -> Comparison:
    """What an exported file made of an image beside what the network makes of it."""
    not_finite = int((~torch.isfinite(output)).sum())
    difference = (output - expected).abs().nan_to_num(torch.inf).max().item()
    return Comparison(tuple(lq.shape), difference, not_finite)


def problems_in(comparisons: Sequence[Comparison], tolerance: float) -> list[str]:
    """What is wrong with a file whose values may differ by `tolerance` of 0 to 1."""
    return [text for comparison in comparisons if (text := _problem_of(comparison, tolerance))]


def _problem_of(comparison: Comparison, tolerance: float) -> str | None:
    if comparison.not_finite:
        values = counted(comparison.not_finite, "value is", "values are")
        return f"{values} not finite for an input of {comparison.shape}"
    if comparison.difference > tolerance:
        return f"differs from the network by {comparison.difference:.2g} for an input of {comparison.shape}"
    return None


def taken_size(facts: NetworkFacts, height: int, width: int) -> tuple[int, int]:
    """The next larger size that the network takes."""
    rows, columns = (
        allowed_size(size, least=facts.min_size, multiple=facts.multiple_of) for size in (height, width)
    )
    return rows, columns


def noise(shape: tuple[int, ...]) -> Tensor:
    """The same noise every time, 0 to 1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))
