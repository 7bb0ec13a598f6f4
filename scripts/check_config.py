"""Explain a configuration: what is good, changed, missing, unwise and wrong, and what it should say.

python scripts/check_config.py FILE [--write NEW] [--strict] [key.sub=value ...]

Reads configurations of this trainer and of traiNNer-redux, in any form that `train.py` accepts, and says key
by key what becomes of it. Exit status: 0 nothing wrong; 1 only with --strict, where something is unwise or
warned of; 2 mistakes.
"""

import sys

from traiNNer.cli.check import main

if __name__ == "__main__":
    sys.exit(main())
