"""A network as one ONNX file, for what may vary of its input, compared with the network before it is trusted.

`archs.OnnxForm` says which of torch's two exporters writes a network and what stays free; docs/networks.md
has what was measured.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from traiNNer.archs import NetworkFacts, OnnxForm
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


_EXAMPLE = (36, 72)
"""What is traced, at least. Not square: networks have masks ready for the square patches of their training."""
Size: TypeAlias = tuple[int, int]
"""Height and width, in pixels."""
_FREE = {"batch and size": {0: "n", 2: "h", 3: "w"}, "size": {2: "h", 3: "w"}, "nothing": {}}
"""The dimensions of an input that vary, by `OnnxForm.free`."""


class NotForOnnx(Exception):
    """The network cannot be written like this; the message says why."""


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
        raise ConfigError(f"--onnx: needs {', '.join(missing)}: pip install {' '.join(missing)}")


def form_of(facts: NetworkFacts, size: Size | None) -> OnnxForm:
    """How a file is written that takes whatever the network allows, or images of one size alone.

    Raises:
        ConfigError: For a size that the network does not take.
        NotForOnnx: If the network cannot be written, or for one size alone and none was given.
    """
    if facts.onnx.refused:
        raise NotForOnnx(f"this network cannot be written: {facts.onnx.refused}")
    if size is None and facts.onnx.free == "nothing":
        raise NotForOnnx(
            "this network is written for one size of images alone: say which by --onnx-size 256x256"
        )
    if size is None:
        return facts.onnx
    if (larger := taken_size(facts, *size)) != size:
        asked, next_one = (f"{height}x{width}" for height, width in (size, larger))
        raise ConfigError(
            f"--onnx-size {asked}: this network does not take that; the next size is {next_one}"
        )
    return facts.onnx._replace(free="nothing")


def taken_input(facts: NetworkFacts, size: Size | None) -> str:
    """What a file takes, in words."""
    if size is not None:
        return f"(1, {facts.channels}, {size[0]}, {size[1]})"
    batch = "any batch" if facts.onnx.free == "batch and size" else "one image at a time (n = 1)"
    return f"(n, {facts.channels}, h, w), {batch}, {taken_sizes(facts)}"


def taken_sizes(facts: NetworkFacts) -> str:
    """The heights and widths that an exported file takes, in words."""
    least, _ = taken_size(facts, 1, 1)
    if least == 1:
        return "any size"
    unit = _unit(facts)
    multiples = f" that are multiples of {unit}" if unit > 1 else ""
    return f"heights and widths of {least} or more{multiples}"


def export_onnx(
    net: nn.Module,
    facts: NetworkFacts,
    path: Path,
    *,
    dtype: torch.dtype,
    metadata: Mapping[str, str],
    size: Size | None = None,
) -> None:
    """Write the network, folded to fewer operations, with input `input` and output `output`, 0 to 1.

    What of the input is free says `form_of`; the output is not clamped. Input and output have the dtype of the
    weights.

    Raises:
        ConfigError: For a `size` that the network does not take.
        NotForOnnx: If it cannot be written.
    """
    form = form_of(facts, size)
    batch = 2 if 0 in _FREE[form.free] else 1
    example = noise((batch, facts.channels, *(size or taken_size(facts, *_EXAMPLE)))).to(dtype)
    write = _trace if form.exporter == "trace" else _export
    try:
        with torch.no_grad(), atomic_write(path) as partial:
            write(fuse(net).to(dtype), example, partial, free=_FREE[form.free], metadata=metadata)
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error).split())[-200:]
        raise NotForOnnx(f"torch cannot write this network (... {reason})") from error
    except RuntimeError as error:
        raise NotForOnnx(
            f"this network does not run as {dtype} at the size that is traced ({error})"
        ) from error


def _export(
    net: nn.Module, example: Tensor, path: Path, *, free: Mapping[int, str], metadata: Mapping[str, str]
) -> None:
    """By torch.export."""
    program = torch.onnx.export(
        net,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=(dict.fromkeys(free, torch.export.Dim.DYNAMIC),) if free else None,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)


def _trace(
    net: nn.Module, example: Tensor, path: Path, *, free: Mapping[int, str], metadata: Mapping[str, str]
) -> None:
    """By the older exporter, which records one pass through the network."""
    import onnx  # takes a while, and may be missing

    with warnings.catch_warnings():
        # that it is old, and that what Python decides is fixed: which is what the comparison finds out
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (example,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": dict(free), "output": dict(free)} if free else None,
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


def compare_onnx(
    path: Path, net: nn.Module, facts: NetworkFacts, *, dtype: torch.dtype, size: Size | None = None
) -> tuple[list[Comparison], list[str]]:
    """Run the file in onnxruntime at the sizes that it takes: what was seen, and what is wrong with it."""
    import onnxruntime  # takes a second, and may be missing

    failures: Any = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    failed = (failures.Fail, failures.InvalidArgument, failures.InvalidGraph, failures.NotImplemented)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    comparisons: list[Comparison] = []
    for shape in _compared_shapes(facts, size):
        lq = noise(shape)
        with torch.inference_mode():
            expected = net(lq)
        try:
            (made,) = session.run(None, {"input": lq.to(dtype).numpy()})
        except (*failed, failures.RuntimeException) as error:
            return comparisons, [f"onnxruntime fails for an input of {shape} ({str(error)[-160:]})"]
        output = torch.from_numpy(made).float()
        if output.shape != expected.shape:
            return comparisons, [f"makes {tuple(output.shape)} of an input of {shape}"]
        comparisons.append(compared(output, expected, lq))
    return comparisons, problems_in(comparisons, _TOLERANCE[dtype])


def _compared_shapes(facts: NetworkFacts, size: Size | None) -> list[tuple[int, ...]]:
    if size is not None:
        return [(1, facts.channels, *size)]
    free = _FREE[facts.onnx.free]
    return [
        (batch if 0 in free else 1, facts.channels, *taken_size(facts, *sides)) for batch, *sides in SIZES
    ]


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
    """The next larger size that an exported file takes."""
    rows, columns = (
        allowed_size(side, least=facts.min_size, multiple=_unit(facts)) for side in (height, width)
    )
    return rows, columns


def _unit(facts: NetworkFacts) -> int:
    """What the sides of an image that an exported file takes are multiples of."""
    return facts.multiple_of if facts.onnx.pads else facts.unit


def noise(shape: tuple[int, ...]) -> Tensor:
    """The same noise every time, 0 to 1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))
