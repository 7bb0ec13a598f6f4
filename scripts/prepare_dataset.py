"""Make a data set ready: a folder of photographs of any size and quality in, training and validation folders out.

python scripts/prepare_dataset.py SOURCE OUT [--val_share 0.05] [--tile 512] [--min_sharpness 8] ...
"""

import sys

from traiNNer.cli.prepare_dataset import main

if __name__ == "__main__":
    sys.exit(main())
