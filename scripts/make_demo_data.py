"""Draw the demo data: synthetic photographs and their LR images, for a first training run without a download.

python scripts/make_demo_data.py [FOLDER] [--scale 2 3 4] [--images 40] [--size 512] [--seed 0]
"""

import sys

from traiNNer.cli.make_demo_data import main

if __name__ == "__main__":
    sys.exit(main())
