"""A network as two files for ncnn, made by pnnx and compared with the network itself before they are trusted.

Programs built on Real-ESRGAN's for Vulkan (Upscayl and others) read such files: one image at a time, any size.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from traiNNer.archs import NetworkFacts
from traiNNer.archs.fuse import fuse
from traiNNer.registry import ConfigError
from traiNNer.release.onnx import SIZES, Comparison, compared, noise, problems_in, taken_size
from traiNNer.runtime.run_dir import atomic_write

_NAMES = {"in0": "data", "out0": "output"}
"""What pnnx calls input and output, and what the programs that use such files ask for."""
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05}
"""Largest difference of values from 0 to 1 that passes, by dtype of the weights.

ncnn's output of SPAN was off by 0.0003, others by 1e-7; a quarter of an 8-bit level is 0.001.
"""


class NotForNcnn(Exception):
    """The network has an operation that ncnn has not; the message names it."""


def require_ncnn() -> None:
    """Raise ConfigError if the packages that this takes are not installed."""
    missing = [name for name in ("pnnx", "ncnn") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"--ncnn: needs {', '.join(missing)}: pip install {' '.join(missing)}")


def export_ncnn(net: nn.Module, facts: NetworkFacts, param: Path, *, dtype: torch.dtype) -> None:
    """Write the network, folded to fewer operations, as `param` and, beside it, the weights as `.bin`.

    Input `data`, output `output`: (3 or 1, h, w), 0 to 1; the output is not clamped.

    Raises:
        NotForNcnn: If an operation of the network does not exist there.
    """
    import pnnx  # a program of its own, which may be missing

    sizes = [(1, facts.channels, *taken_size(facts, *size)) for size in ((36, 40), (24, 52))]
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder, "net.pt")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pnnx reads nothing newer than what torch calls old
            with torch.no_grad():
                torch.jit.save(torch.jit.trace(fuse(net).float(), noise(sizes[0])), traced)
        shapes = [f"[{','.join(map(str, size))}]" for size in sizes]
        half = int(dtype == torch.float16)
        command = [
            pnnx.EXEC_PATH,
            traced,
            f"inputshape={shapes[0]}",
            f"inputshape2={shapes[1]}",
            f"fp16={half}",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        unknown = re.findall(r"^ignore (\S+) ", done.stdout + done.stderr, re.MULTILINE)
        if unknown or done.returncode or not Path(folder, "net.ncnn.param").is_file():
            reason = ", ".join(dict.fromkeys(unknown)) or f"pnnx ends with {done.returncode}"
            raise NotForNcnn(f"ncnn has no operation for a part of this network ({reason})")
        text = Path(folder, "net.ncnn.param").read_text(encoding="utf-8")
        with atomic_write(param) as partial:
            partial.write_text(re.sub(r"\b(in0|out0)\b", lambda m: _NAMES[m[0]], text), encoding="utf-8")
        with atomic_write(param.with_suffix(".bin")) as partial:
            partial.write_bytes(Path(folder, "net.ncnn.bin").read_bytes())


def compare_ncnn(
    param: Path, net: nn.Module, facts: NetworkFacts, *, dtype: torch.dtype
) -> tuple[list[Comparison], list[str]]:
    """Run the files in ncnn on the CPU at three sizes: what was seen, and what is wrong with them."""
    import ncnn  # may be missing

    comparisons: list[Comparison] = []
    for _, height, width in SIZES:
        lq = noise((1, facts.channels, *taken_size(facts, height, width)))
        with torch.inference_mode():
            expected = net(lq)[0]
        runner = ncnn.Net()  # type: ignore[reportAttributeAccessIssue] - made by its binary part
        if runner.load_param(str(param)) or runner.load_model(str(param.with_suffix(".bin"))):
            return [], ["ncnn cannot read it"]
        pixels = lq[0].numpy()  # has to live as long as what looks at it
        image = ncnn.Mat(pixels).clone()  # type: ignore[reportAttributeAccessIssue]
        extractor = runner.create_extractor()
        extractor.input("data", image)
        _, made = extractor.extract("output")
        output = torch.from_numpy(np.array(made))
        if output.shape != expected.shape:
            return [], [f"makes {tuple(output.shape)} of an input of {tuple(lq.shape)}"]
        comparisons.append(compared(output, expected, lq))
    return comparisons, problems_in(comparisons, _TOLERANCE[dtype])
