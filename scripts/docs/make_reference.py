"""Write docs/configuration.md, the page of every option.

python scripts/docs/make_reference.py
"""

from __future__ import annotations

from pathlib import Path

from reference import reference

TARGET = Path(__file__).parents[2] / "docs/configuration.md"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(f"written: {TARGET}")
