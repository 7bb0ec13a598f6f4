"""Files of weights that others load: plain module keys, with metadata that says what they are."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from traiNNer.archs.weights_file import read_as_it_is
from traiNNer.registry import ConfigError
from traiNNer.runtime.run_dir import write_whole


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write plain module weights as safetensors with metadata, or as `.pth` under `params`, all or nothing."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    if path.suffix.lower() == ".safetensors":
        write_whole(path, _sorted_header(save(plain, metadata=dict(metadata))))
        return
    buffer = io.BytesIO()  # torch's own writer says nothing useful of a full disk
    torch.save({"params": plain, "metadata": json.dumps(dict(metadata))}, buffer)
    write_whole(path, buffer.getbuffer())


def read_with_metadata(path: Path) -> dict[str, Any] | None:
    """`weights` and `metadata` of a file that `write_weights` wrote; None if there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        content, metadata = read_as_it_is(path)
    except ConfigError:
        return None
    weights = content if path.suffix.lower() == ".safetensors" else _under_params(content)
    return None if weights is None else {"weights": weights, "metadata": metadata}


def metadata_of(path: Path) -> dict[str, str]:
    """What such a file says about itself; nothing where it is of another kind."""
    found = read_with_metadata(path)
    return found["metadata"] if found else {}


def _under_params(content: Any) -> Mapping[str, Tensor] | None:
    return content.get("params") if isinstance(content, Mapping) else None


def _sorted_header(data: bytes) -> bytes:
    """The same safetensors file with its header in order, so that equal weights are equal files.

    The library writes metadata in the order of a hash map, another one each time.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
