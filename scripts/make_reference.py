"""Write docs/configuration.md, the page of every option.

python scripts/make_reference.py
"""

from __future__ import annotations

from pathlib import Path

from traiNNer.engine.reference import reference

TARGET = Path(__file__).parent.parent / "docs/configuration.md"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(f"written: {TARGET}")
