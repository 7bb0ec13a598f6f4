"""Tell within five minutes what this card does, and what to write into the YAML for it.

python scripts/check_card.py [--out FOLDER] [--only PART ...] [--limit SECONDS] [--cpu] [--tiny]

Writes card.json and card.md as the figures come, so that a run cut short still tells something, and prints the
page at its end. Parts: machine, precision, batches, workers, loop, validation, compile.
"""

import sys

from traiNNer.cli.check_card import main

if __name__ == "__main__":
    sys.exit(main())
