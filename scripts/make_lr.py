"""Make the LR images of a folder of ground truth by MATLAB's bicubic, as the field's benchmarks are made.

python scripts/make_lr.py HR_FOLDER OUT [--scale 2 3 4] [--overwrite] [--processes N]

OUT/LRx2 (LRx3, ...) gets one PNG for each image, in the same subfolders. Where height or width is no
multiple of the scale, the LR image is of the top-left part that is; the data sets cut the ground truth alike.
"""

import sys

from traiNNer.cli.make_lr import main

if __name__ == "__main__":
    sys.exit(main())
