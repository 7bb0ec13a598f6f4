"""`python test.py`: measure a network on every test set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from traiNNer.build.testing import read_and_run_test
from traiNNer.registry import ConfigError
from traiNNer.runtime.console import accept_any_output, end_logging, report_config_errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a network from command-line arguments; returns the exit status.

    0: done. 2: a mistake in the configuration or the data, said in words.
    """
    accept_any_output()
    parser = argparse.ArgumentParser(prog="test.py", description="Measure a super-resolution network.")
    parser.add_argument("-opt", required=True, metavar="FILE", help="the YAML file that describes the test")
    parser.add_argument(
        "overrides", nargs="*", metavar="key.sub=value", help="options that win over the file"
    )
    args = parser.parse_intermixed_args(arguments)
    try:
        read_and_run_test(args.opt, args.overrides)
    except ConfigError as error:
        return report_config_errors(error)
    finally:
        end_logging()
    return 0
