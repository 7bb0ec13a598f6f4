"""Print a script that makes a shell complete the verbs of `trainner`, their options, and files.

bash        trainner completion bash > ~/.trainner-completion.bash
            and in ~/.bashrc: . ~/.trainner-completion.bash
zsh         trainner completion zsh > ~/.zfunc/_trainner
            and in ~/.zshrc: fpath+=~/.zfunc; autoload -Uz compinit; compinit
fish        trainner completion fish > ~/.config/fish/completions/trainner.fish
tcsh        trainner completion tcsh > ~/.trainner-completion.tcsh
            and in ~/.tcshrc: source ~/.trainner-completion.tcsh
PowerShell  Add-Content $PROFILE (trainner completion powershell)
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from importlib import import_module

import shtab

from traiNNer.cli.ending import ends_in_words
from traiNNer.cli.trainner import SUMMARY, VERBS
from traiNNer.options.recipes import PURPOSES, recipes
from traiNNer.options.shape import section_at, sections

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
_FOLDERS = ("gt", "lq", "val_gt", "out", "hr", "source", "folder", "run")
_FILES = (
    "compared", "file", "opt", "write", "model", "one", "other", "input", "output", "image", "metrics",
    "configuration",
)  # fmt: skip
"""Arguments that name a folder, and those that name a file, by the names they have here."""


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=SHELLS, help="whose form the script has")
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the script. Returns the exit status."""
    args = command_line().parse_args(arguments)
    print(script(whole(), args.shell))
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What makes a shell complete a command line."""
    text = shtab.complete(parser, shell)
    # shtab takes -opt for three options of one letter; fish has a form of its own for such names
    return re.sub(r" -s (\w{2,})", r" -o \1", text) if shell == "fish" else text


def whole() -> argparse.ArgumentParser:
    """All verbs as one command line, with what each argument is completed by."""
    parser = argparse.ArgumentParser("trainner", description=SUMMARY)
    verbs = parser.add_subparsers()
    for name, verb in VERBS.items():
        own = import_module(f"traiNNer.cli.{verb.module}").command_line()
        verbs.add_parser(name, parents=[_hinted(own)], add_help=False, help=verb.summary)
    return parser


def _hinted(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    for action in parser._actions:
        if action.dest in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[reportAttributeAccessIssue] - where shtab looks
        elif action.dest in _FILES:
            action.complete = shtab.FILE  # type: ignore[reportAttributeAccessIssue]
        elif action.metavar == "key.sub=value":
            action.choices = [f"{option}=" for option in _options()]
        elif action.dest == "recipe":
            action.choices = [*recipes(), *PURPOSES]
    return parser


def _options() -> Iterator[str]:
    """Dotted paths of all options with a fixed place; of the data sets, those of the training set."""
    for pattern, section in sections():
        place = tuple("train" if key == "*" else key for key in pattern)
        for name in section.model_fields:
            if section_at((*pattern, name)) is None:
                yield ".".join((*place, name))
