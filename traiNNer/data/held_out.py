"""Which images of a training set are set aside for validation: by their names alone, the same in every run.

Images of one source stay together, as far as names tell: what marks a piece of an image (`_s003`, `_tile3`,
`_x0_y512`) or a smaller copy (`0001T2`) is left out of the name of the source, and so is the folder of the set.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.pairs.file_index import Files, stem
from traiNNer.registry import ConfigError

Part = Literal["all", "training", "held_out"]

_SHARE, _FEWEST, _MOST = 0.05, 2, 10
"""Of the sources: the share that is held out, and how many at least and at most."""
_NEEDED = 4
"""Sources without which none are held out: as many are left to train on."""
_PIECE = re.compile(
    r"""(?: _s\d+                                            # BasicSR's extract_subimages, and `trainner prepare`
        | (?<=\d)T\d                                        # BasicSR's generate_multiscale_DF2K
        | [_-](?:tile|crop|patch|part|piece)(?:[_-]?\d+)+   # photo_tile_3, photo-crop12, photo_patch_0_512
        | [_-][xyrc](?:ol|ow)?\d+[_-][xyrc](?:ol|ow)?\d+     # photo_x0_y512, photo_r1_c2, photo_row1_col2
        )+$""",
    re.VERBOSE | re.IGNORECASE,
)


def source_of(name: str) -> str:
    """The image of which a file is a piece or a copy, by its relative path; most files are their own."""
    return _PIECE.sub("", unicodedata.normalize("NFC", stem(name)))


def in_part(files: Files, part: Part) -> NDArray[np.bool_]:
    """Which files belong to a part.

    Held out are the sources whose names have the smallest digests: a twentieth, at least two and at most ten.
    Further photographs move few of them.

    Raises:
        ConfigError: If there are too few sources to hold any out.
    """
    if part == "all":
        return np.ones(len(files), np.bool_)
    digests = np.fromiter((_digest(source_of(name)) for name in files.names), np.uint64, len(files))
    sources = np.unique(digests)
    if len(sources) < _NEEDED:
        if part == "held_out":
            raise ConfigError(
                f"val: auto sets images aside, and of {len(sources)} too few would be left (of {_NEEDED} or more "
                "it does; pieces of one image count once): add images, or name other ones in datasets.val"
            )
        return np.ones(len(files), np.bool_)
    count = min(_MOST, max(_FEWEST, round(_SHARE * len(sources))))
    held_out = digests <= sources[count - 1]
    return held_out if part == "held_out" else ~held_out


def _digest(source: str) -> int:
    data = source.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
