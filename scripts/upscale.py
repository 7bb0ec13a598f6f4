"""Upscale images, folders of images or a video with a trained network.

    python scripts/upscale.py experiments/NAME/models/net_g_best.safetensors photos/ enlarged/

Which network it is, is found out from the file; what the file does not tell is given as `key=value`.
"""

import sys

from traiNNer.cli.upscale import main

if __name__ == "__main__":
    sys.exit(main())
