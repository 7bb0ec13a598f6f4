"""Make a trained network ready to be published: weights, ONNX, a page about it and its OpenModelDB entry.

    python scripts/export.py experiments/NAME/models/net_g_best.safetensors --onnx --fp16 --license CC-BY-4.0

What the file does not tell about its network is given as `key=value`.
"""

import sys

from traiNNer.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
