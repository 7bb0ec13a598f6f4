"""Show the recorded events of a run to its automations again, with the same settings or with others.

With the settings of the run, the decisions must be those of its decisions.jsonl; exit status 1 if they are not.
With another configuration (`-opt`), what its automations would have decided is printed instead. Nothing is
trained: from the first differing decision on, the measurements are still those of the recorded run.

    trainner replay experiments/NAME
    trainner replay experiments/NAME -opt options/mine.yml train.early_stopping.patience=500
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from traiNNer.build.check import check_parts
from traiNNer.build.replay import beginning, replay
from traiNNer.cli.ending import ends_in_words
from traiNNer.control import from_plain
from traiNNer.events import RunFacts
from traiNNer.options import load_options
from traiNNer.registry import ConfigError
from traiNNer.runtime.os_errors import with_remedy
from traiNNer.tracking.jsonl import read_records
from traiNNer.wording import counted


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of a run, such as experiments/NAME")
    parser.add_argument("-opt", type=Path, help="configuration whose automations are asked; that of the run")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="options to change")
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, replay, compare. Returns the exit status."""
    args = command_line().parse_intermixed_args(arguments)
    logging.disable()  # the automations would say again what they said in the run
    try:
        return _compare(args.folder, args.opt, args.overrides)
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"{with_remedy(error) if isinstance(error, OSError) else error}\n")
        return 2
    finally:
        logging.disable(logging.NOTSET)


def _compare(folder: Path, configuration: Path | None, overrides: list[str]) -> int:
    options = load_options(configuration or folder / "resolved.yml", overrides, check=check_parts)
    known = folder / "facts.json"
    try:
        facts = from_plain(RunFacts, json.loads(known.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ConfigError(f"{known}: does not hold the facts of a run: {error}") from None
    decided = list(replay(read_records(folder / "events.jsonl"), *beginning(options, facts)))
    recorded = read_records(folder / "decisions.jsonl")
    for decision in decided:
        print(_words(decision))
    print(f"replayed: {_count(decided)}\nrecorded: {_count(recorded)}")
    if configuration or overrides:
        return 0
    if decided == recorded:
        print("the same decisions")
        return 0
    pairs = zip([*decided, None], [*recorded, None], strict=False)
    replayed, then = next((a, b) for a, b in pairs if a != b)
    print(f"they differ first where the replay has\n  {_words(replayed)}\nand the record\n  {_words(then)}")
    return 1


def _words(decision: dict[str, Any] | None) -> str:
    if decision is None:
        return "nothing more"
    change = f"{decision['parameter']} {decision['old']} -> {decision['new']}"
    suffix = "" if decision["applied"] else " (monitor only)"
    return (
        f"iter {decision['iter']:,}  {decision['automation']}: {change} due to {decision['reason']}{suffix}"
    )


def _count(decisions: list[dict[str, Any]]) -> str:
    each = ", ".join(f"{name} {n}" for name, n in Counter(d["automation"] for d in decisions).items())
    return f"{counted(len(decisions), 'decision')}{f' ({each})' if each else ''}"
