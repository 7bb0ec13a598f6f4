"""Train a network: `python train.py -opt options/2x_ParagonSR2_Nano.yml`."""

import sys

from traiNNer.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
