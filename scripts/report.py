"""Write the report of a run (again): one page with curves, decisions, pictures and diagnosis.

python scripts/report.py experiments/NAME
"""

import sys

from traiNNer.cli.report import main

if __name__ == "__main__":
    sys.exit(main())
