"""`python -m traiNNer` is `trainner`, for where the folder of commands is not on the PATH."""

import sys

from traiNNer.cli.trainner import main

if __name__ == "__main__":
    sys.exit(main())
