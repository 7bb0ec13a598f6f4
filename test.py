"""Measure a trained network: `python test.py -opt options/test/2x_ParagonSR2_Nano.yml`."""

import sys

from traiNNer.cli.test import main

if __name__ == "__main__":
    sys.exit(main())
