"""Propose a `degradation` section that makes images like your own low-quality ones.

python scripts/fit_degradations.py MY_LQ_FOLDER --gt GOOD_PHOTOGRAPHS [--scale 4]
"""

import sys

from traiNNer.cli.fit_degradations import main

if __name__ == "__main__":
    sys.exit(main())
