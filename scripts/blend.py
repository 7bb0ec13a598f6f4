"""Mix the weights of two networks of one architecture: what lies between a faithful and a sharp one.

    python scripts/blend.py fidelity.safetensors gan.safetensors --alpha 0.3

The second counts by `--alpha`. Score the result with `test.py` (`path.pretrain_network_g`).
"""

import sys

from traiNNer.cli.blend import main

if __name__ == "__main__":
    sys.exit(main())
