"""Make Set14-RW: Set14 degraded at three strengths by fixed draws, the benchmark of models for real photographs.

    python scripts/benchmarks/make_set14_rw.py ../shared/data/bench/Set14/HR OUT

Writes OUT/weak, OUT/medium and OUT/strong (x4, PNG) with GT in OUT/HR, and checks the pixels against the hashes
below. Another machine or another version of a library may round otherwise: it is said, and how many images differ.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from traiNNer.build.degradation import build_chain
from traiNNer.data.degraded_dataset import DegradedImageDataset
from traiNNer.data.images.image_io import write_image
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.options.degradation import PRESETS, DegradationOptions

SCALE = 4
HASHES: dict[str, dict[str, str]] = {
    "weak": {
        "baboon": "65fb685580bddf4c",
        "barbara": "d91ef82993aec100",
        "bridge": "6c52889f45e71ec6",
        "coastguard": "c19482ef4b624fee",
        "comic": "ee890f9e7728dd9e",
        "face": "f4b9096e1053d996",
        "flowers": "68735d4d3980b14c",
        "foreman": "f9e14493deb54bbb",
        "lenna": "43c0b47e830e5398",
        "man": "70ec5ca8de205b26",
        "monarch": "c4cdcf2b1a8d371c",
        "pepper": "f01a65d1c40fbc1a",
        "ppt3": "d63c92ab28f2ded9",
        "zebra": "61332409ed783758",
    },
    "medium": {
        "baboon": "b4f2a208424f1e21",
        "barbara": "4aa898719ee45e28",
        "bridge": "dedf1544beae11b9",
        "coastguard": "f4f5e17463406d61",
        "comic": "1199c67ab3fec1b7",
        "face": "153f43ec99257f06",
        "flowers": "bbd615825032bf5f",
        "foreman": "f752f9c834a0afdd",
        "lenna": "a7dc627eb8be999c",
        "man": "d30f5bc949c6de07",
        "monarch": "e9751a995a73609f",
        "pepper": "94b27eec0fb64516",
        "ppt3": "8758a9d13cf4b42d",
        "zebra": "6fa9f11538c7b87a",
    },
    "strong": {
        "baboon": "2f13ff602478b377",
        "barbara": "47286f1f92838b40",
        "bridge": "8bdd1e3be83f4ef7",
        "coastguard": "7e34b6dc1429dd90",
        "comic": "aa1f1254919b13c3",
        "face": "e8cb484559618382",
        "flowers": "3b110de4ca7f3ec8",
        "foreman": "6c9c5f5fbe0a8973",
        "lenna": "db5178600d6d9301",
        "man": "d0b91738ed21c21a",
        "monarch": "a0965bd652c70caf",
        "pepper": "b0efd15949f3d89c",
        "ppt3": "a85105c7092feb93",
        "zebra": "33cfcd524de1fe4b",
    },
}
"""First 16 digits of SHA-256 of the pixels of LQ, by strength and image."""


def main() -> int:
    """Makes the images and compares. Returns 1 if any differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("hr", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    photos = PairedImageDataset([args.hr], [args.hr], 1)
    differ = 0
    for strength, expected in HASHES.items():
        chain = build_chain(DegradationOptions(**PRESETS[strength]))
        images = DegradedImageDataset(photos, SCALE, chain)
        for index in range(len(images)):
            pair = images.pair(index)
            write_image(args.out / strength / f"{pair.name}.png", pair.lq)
            if strength == next(iter(HASHES)) and pair.gt is not None:
                write_image(args.out / "HR" / f"{pair.name}.png", pair.gt)
            found = hashlib.sha256(pair.lq.tobytes()).hexdigest()[:16]
            differ += found != expected.get(pair.name)
    print(f"{args.out}: {len(photos)} images at {', '.join(HASHES)}; {differ} differ from the recorded ones")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
