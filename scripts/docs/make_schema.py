"""Write schemas/traiNNer.schema.json, which lets editors complete and check configurations.

python scripts/docs/make_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path

from schema import schema

TARGET = Path(__file__).parents[2] / "schemas/traiNNer.schema.json"


def text() -> str:
    """What the file should hold."""
    return json.dumps(schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text(), encoding="utf-8")
    print(f"written: {TARGET}")
