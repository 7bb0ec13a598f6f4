"""The command `trainner`: its first word says which of the commands beside this file is meant.

Nothing is imported before that is known, so that `trainner --help` does not wait for torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from traiNNer import __version__


class Verb(NamedTuple):
    """Where a command is and what it does."""

    module: str
    """In this package; its `main` takes the words after the verb and returns the exit status."""
    summary: str


SUMMARY = "Train networks for image super-resolution, and use them."

VERBS = {
    "new": Verb("new", "write a configuration from a recipe, for your photographs"),
    "check": Verb("check", "explain a configuration: what is good, unwise and wrong in it"),
    "prepare": Verb("prepare_dataset", "make a data set of a folder of photographs of any quality"),
    "lr": Verb("make_lr", "make low-resolution images by MATLAB's bicubic"),
    "preview": Verb("preview_degradations", "show what a chain of degradations makes of the images"),
    "fit": Verb("fit_degradations", "propose a chain of degradations for your own low-quality images"),
    "card": Verb("check_card", "measure what this card or processor does, and say what to write for it"),
    "train": Verb("train", "train a network"),
    "report": Verb("report", "write the report of a run (again)"),
    "compare": Verb("compare", "lay runs, or trained models, beside each other on one page"),
    "replay": Verb("replay", "ask the automations of a run again, with the same settings or others"),
    "test": Verb("test", "measure a trained network"),
    "blend": Verb("blend", "mix the weights of two networks"),
    "upscale": Verb("upscale", "upscale images, folders or a video"),
    "export": Verb("export", "make a network ready to be published"),
    "completion": Verb("completion", "print what makes a shell complete verbs, options and files"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status, 2 for a mistake on it."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    if not words:
        parser.print_help(sys.stderr)
        return 2
    if words[0] not in VERBS and not words[0].startswith("-"):
        from traiNNer.registry import did_you_mean  # which takes time that other words should not wait for

        meant = did_you_mean(words[0], VERBS) or "; `trainner --help` lists what there is"
        parser.error(f"there is no verb {words[0]!r}{meant}")
    chosen = parser.parse_args(words[:1]).verb
    sys.argv = [f"trainner {chosen}", *words[1:]]  # the name that usage lines and mistakes begin with
    return import_module(f"traiNNer.cli.{VERBS[chosen].module}").main(words[1:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trainner",
        usage="trainner VERB ...",
        description=SUMMARY,
        epilog="\n".join([*(f"  {name:11}{verb.summary}" for name, verb in VERBS.items()), "", _AFTER]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="one of those below")
    parser.add_argument("--version", action="version", version=f"trainner {__version__}")
    return parser


_AFTER = "`trainner VERB --help` says what it takes."
