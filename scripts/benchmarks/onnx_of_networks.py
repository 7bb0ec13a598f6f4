"""Write networks of other authors as ONNX at the sizes that people publish, and run them on photographs.

    python scripts/benchmarks/onnx_of_networks.py --images Set5/LRx4 --out docs/data/onnx_of_networks.jsonl
    python scripts/benchmarks/onnx_of_networks.py --out docs/data/onnx_of_networks.jsonl --table

For each network with the authors' initial values: seconds of one core until the file is written, its size, and the
largest difference between onnxruntime and torch over the photographs, each of another size than the one that was
traced. A JSON line each; networks that have one are skipped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from whole_runs import finished

from traiNNer.archs import NetworkFacts, build_network
from traiNNer.data.images.image_io import eight_bits, read_image
from traiNNer.release.onnx import NotForOnnx, Size, export_onnx, taken_size

NETWORKS = (
    "seemore_t", "safmn", "omnisr", "realcugan", "dncnn", "mosr_t", "ditn_real", "swiftsrgan", "retinexformer",
    "fdat_tiny", "nafnet", "craft", "swin2sr_s", "swinir_s", "dat_light", "scunet", "rcan", "plksr_tiny", "moesr",
    "dctlsa", "grl_t", "drct", "rgt_s", "hat_s", "drunet", "uformer", "mmrealsr", "atd_light", "fbcnn", "kbnet_s",
    "fftformer",
)  # fmt: skip
"""One of each family, the cheap ones first."""


def main() -> None:
    """Measure what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of small photographs")
    parser.add_argument("--out", required=True, type=Path, help="file of JSON lines, one a network")
    parser.add_argument(
        "--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="TYPE"
    )
    parser.add_argument("--table", action="store_true", help="print what is there, and run nothing")
    args = parser.parse_args()
    done = {record["network"]: record for record in finished(args.out)}
    if args.table:
        print(table([done[name] for name in sorted(done)]))
        return
    for name in args.networks:
        if name not in done:
            record = measured(name, sorted(args.images.glob("*.png")))
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            print(record, flush=True)


def measured(name: str, images: Sequence[Path]) -> dict[str, Any]:
    """What it takes to write a network, and how far the file is off."""
    torch.manual_seed(0)
    net = build_network({"type": name}).eval()
    facts = cast(NetworkFacts, net.facts)
    record: dict[str, Any] = {
        "network": name,
        "torch": torch.__version__,
        "exporter": facts.onnx.exporter,
        "free": facts.onnx.free,
        "parameters": sum(p.numel() for p in net.parameters()),
    }
    size = (128, 128) if facts.onnx.free == "nothing" else None
    with tempfile.TemporaryDirectory() as folder:
        path, began = Path(folder, "net.onnx"), time.process_time()
        try:
            export_onnx(net, facts, path, dtype=torch.float32, metadata={}, size=size)
        except NotForOnnx as error:
            return record | {"refused": str(error)}
        record |= {"core_seconds": round(time.process_time() - began, 1), "bytes": path.stat().st_size}
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        differences = []
        for image in images:
            lq = _photograph(image, facts, size)
            (made,) = session.run(None, {"input": lq.numpy()})
            with torch.inference_mode():
                differences.append((torch.from_numpy(made) - net(lq)).abs().max().item())
    return record | {"photographs": len(images), "largest_difference": max(differences)}


def _photograph(path: Path, facts: NetworkFacts, size: Size | None) -> Tensor:
    """A photograph, repeated where it is too small and cut to a size that the file takes."""
    pixels = eight_bits(read_image(path))
    height, width = size or taken_size(facts, max(1, pixels.shape[0] - facts.unit), pixels.shape[1])
    times = [-(-wanted // side) for wanted, side in zip((height, width), pixels.shape[:2], strict=True)]
    cut = np.tile(pixels, (*times, 1))[:height, :width]
    return torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1)[None].contiguous() / 255


def table(records: Sequence[dict[str, Any]]) -> str:
    """The rows of docs/networks.md."""
    words = {"batch and size": "any", "size": "one image", "nothing": "one size"}
    exporters = {"export": "torch.export", "trace": "the older"}
    lines = [
        "| network | parameters | ONNX | exporter | core seconds | MB | largest difference |",
        "|---|---:|---|---|---:|---:|---:|",
    ]
    for record in records:
        cells = [f"`{record['network']}`", f"{record['parameters']:,}"]
        if "refused" in record:
            cells += ["no", "", "", "", ""]
        else:
            cells += [words[record["free"]], exporters[record["exporter"]], f"{record['core_seconds']:.0f}"]
            cells += [f"{record['bytes'] / 1e6:,.0f}", f"{record['largest_difference']:.0e}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
