"""Show what a configuration's chain of degradations makes of its training images.

    python scripts/preview_degradations.py options/mine.yml [--count 8] [--position N] [--stages] [--out FOLDER]

Writes a contact sheet (GT, bicubic, LQ, the stages in words) and a JSON line for each sample, and prints what the
samples cost and how far they are from clean ones.
"""

import sys

from traiNNer.cli.preview_degradations import main

if __name__ == "__main__":
    sys.exit(main())
