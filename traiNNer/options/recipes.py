"""The recipes that come with the program, and the schema that editors check a configuration by.

In a checkout they are `options/` and `schemas/` at its top; a wheel has copies inside the package (`setup.py`).
"""

from __future__ import annotations

import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_SHIPPED = _PACKAGE / "shipped"
_HOME = _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parent

PURPOSES = {
    "fidelity": "realplksr_fidelity",
    "gan": "photo_perceptual",
    "otf_fidelity": "realplksr_otf_fidelity",
    "otf_gan": "photo_real_perceptual",
}
"""The recipe that a network of one's own gets, by traiNNer-redux's names of its templates."""

SCHEMA = _HOME / "schemas" / "traiNNer.schema.json"


def recipes() -> dict[str, Path]:
    """Files of the recipes for training by their short names: `2x_ParagonSR2_Nano.yml` is `nano`."""
    folder = _HOME / "options"
    files = [*folder.glob("*.yml"), *folder.glob("train/**/*.yml")]
    named = {re.sub(r"^\d+x_(ParagonSR2_)?", "", file.stem).lower(): file for file in files}
    return dict(sorted(named.items()))
