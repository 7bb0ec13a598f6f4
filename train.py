"""Train a network: `python train.py -opt options/2x_ParagonSR2_Nano.yml`."""

import sys

from traiNNer.cli.train import train
from traiNNer.runtime.signals import ignore_signals

if __name__ == "__main__":
    status = train()
    ignore_signals()
    sys.exit(status)
