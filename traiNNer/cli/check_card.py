"""Tell within five minutes what this card does, and what to write into the YAML for it.

trainner card [--out FOLDER] [--only PART ...] [--limit SECONDS] [--cpu] [--tiny]

Writes card.json and card.md as the figures come, so that a run cut short still tells something, and prints the
page at its end. Parts: machine, precision, batches, workers, loop, validation, compile.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from traiNNer.build.card.page import facts, page
from traiNNer.build.card.processes import PARTS, Outcome, run_parts, why_no_card_elsewhere
from traiNNer.build.card.settings import Settings
from traiNNer.cli.ending import ends_in_words
from traiNNer.registry import ConfigError
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.tracking.jsonl import strict_json

_LIMIT = 295.0  # seconds


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results/card"),
        help="folder for the figures, results/card by default",
    )
    names = [part.name for part in PARTS]
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        default=names,
        metavar="PART",
        help="parts to measure, all by default",
    )
    parser.add_argument(
        "--limit", type=float, default=_LIMIT, help=f"seconds for everything, {_LIMIT:.0f} by default"
    )
    parser.add_argument("--cpu", action="store_true", help="measure the CPU")
    parser.add_argument(
        "--tiny", action="store_true", help="a trial of this program: the figures mean nothing"
    )
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and print; returns the exit status: 1 where a part failed or was not measured to its end."""
    args = command_line().parse_args(arguments)
    if not args.cpu and (reason := why_no_card_elsewhere()):
        raise ConfigError(f"{reason}; --cpu measures the processor")
    settings = Settings(device="cpu" if args.cpu else "cuda", tiny=args.tiny)
    args.out.mkdir(parents=True, exist_ok=True)

    def write(outcomes: Mapping[str, Outcome]) -> None:
        for name, text in (
            ("card.json", strict_json(facts(outcomes, settings), indent=1)),
            ("card.md", page(outcomes, settings)),
        ):
            with atomic_write(args.out / name) as partial:
                partial.write_text(text + "\n", encoding="utf-8")

    chosen = [part for part in PARTS if part.name in args.only]
    outcomes = run_parts(settings, chosen, limit=args.limit, changed=write)
    print(page(outcomes, settings))
    print(f"Written: {args.out / 'card.md'} and {args.out / 'card.json'}")
    return int(any(outcome.status != "done" for outcome in outcomes.values()))
