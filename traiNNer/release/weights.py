"""Files of weights that others load: plain module keys, with metadata that says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from traiNNer.runtime.run_dir import atomic_write


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write plain module weights as safetensors with metadata, or as `.pth` under `params`, all or nothing."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    with atomic_write(path) as partial:
        if path.suffix == ".safetensors":
            partial.write_bytes(_sorted_header(save(plain, metadata=dict(metadata))))
        else:
            torch.save({"params": plain, "metadata": json.dumps(dict(metadata))}, partial)


def _sorted_header(data: bytes) -> bytes:
    """The same safetensors file with its header in order, so that equal weights are equal files.

    The library writes metadata in the order of a hash map, another one each time.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
