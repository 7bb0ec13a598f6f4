"""Show the recorded events of a run to its automations again, with the same settings or with others.

With the settings of the run, the decisions must be those of its decisions.jsonl; exit status 1 if they are not.
With another configuration (`-opt`), what its automations would have decided is printed instead. Nothing is
trained: from the first differing decision on, the measurements are still those of the recorded run.

    python scripts/replay.py experiments/NAME
    python scripts/replay.py experiments/NAME -opt options/mine.yml train.early_stopping.patience=500
"""

import sys

from traiNNer.cli.replay import main

if __name__ == "__main__":
    sys.exit(main())
