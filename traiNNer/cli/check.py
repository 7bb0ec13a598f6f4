"""Explain a configuration: what is good, changed, missing, unwise and wrong, and what it should say.

python scripts/check_config.py FILE [--write NEW] [--strict] [key.sub=value ...]

Reads configurations of this trainer and of traiNNer-redux, in any form that `train.py` accepts, and says key
by key what becomes of it. Exit status: 0 nothing wrong; 1 only with --strict, where something is unwise or
warned of; 2 mistakes.
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from traiNNer.archs.download import is_address
from traiNNer.build.check import check_parts, check_test_parts, idle_parts
from traiNNer.build.data import listed, open_each
from traiNNer.build.data_folders import is_demo
from traiNNer.build.demands import too_large
from traiNNer.build.lint import Advice, automation_block, missing, unwise, unwise_data
from traiNNer.cli.ending import ends_in_words
from traiNNer.cli.opt import file_first
from traiNNer.options import Examined, Options, examine
from traiNNer.options.rewrite import rewritten, written_part
from traiNNer.options.source import is_toml
from traiNNer.registry import ConfigError, Problem
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.text_files import read_text
from traiNNer.wording import no_file

_FILES_OF_WEIGHTS = ("pretrain_network_g", "pretrain_network_d", "pretrain_network_g_teacher")


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description="Explain a configuration.")
    parser.add_argument("file", type=Path, help="a configuration: ours, or of other trainers")
    parser.add_argument("--write", type=Path, metavar="NEW", help="where the corrected file goes")
    parser.add_argument("--overwrite", action="store_true", help="let NEW replace a file that exists")
    parser.add_argument("--strict", action="store_true", help="exit status 1 for what is unwise")
    parser.add_argument("--no-data", action="store_true", help="do not look at the images")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key.sub=value", help="options that win over the file"
    )
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the explanation; returns the exit status."""
    args = command_line().parse_intermixed_args(file_first(arguments))
    try:
        return _explain(args)
    except ConfigError as error:
        _say("wrong", error.problems)
        return 2


def _explain(args: argparse.Namespace) -> int:
    """The file in today's form first, then what there is to say of it: the verdict is what stays on the screen."""
    if args.write and args.write.exists() and not args.overwrite:
        raise ConfigError(f"{args.write}: is there already (--overwrite replaces it)")
    found = examine(args.file, args.overrides, check=_check)
    _propose(args.file, args.write, found)
    wrong, remarks = list(found.problems), []
    if found.options is not None:
        data_remarks, data_wrong = ([], []) if args.no_data or wrong else _look_at_data(found.options)
        idle = [Advice(part.path, part.message) for part in idle_parts(found.tree)]
        remarks = [*idle, *unwise(found.options), *data_remarks]
        if not wrong:  # what is no path cannot be looked for
            wrong += [*data_wrong, *_missing_weights(found.options), *too_large(found.options)]
    warnings = [note.text for note in found.notes if note.level >= logging.WARNING]
    _say("good", _good(found))
    _say("changed", [note.text for note in found.notes if note.level < logging.WARNING])
    if found.options is not None:
        _say("missing", _placed(found, missing(found.options)))
    _say("unwise", [*warnings, *_placed(found, remarks)])
    _say("wrong", wrong)
    unclear = len(warnings) + len(remarks)
    print(f"\n{args.file}: {_verdict(len(wrong), unclear)}", flush=True)
    return 2 if wrong else 1 if args.strict and unclear else 0


def _verdict(wrong: int, unwise: int) -> str:
    if wrong:
        return f"{wrong} mistake{'s' * (wrong > 1)}; it cannot be used as it stands"
    return f"no mistake, {unwise or 'no'} remark{'s' * (unwise != 1)}; it can be used"


def _check(raw: Mapping[str, Any]) -> list[Problem]:
    training = "train" in raw or "train" in (raw.get("datasets") or {})
    return check_parts(raw) if training else check_test_parts(raw)


def _say(title: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    print(f"{title}: {len(lines) or 'nothing'}")
    for line in lines:
        print(f"  {line}")


def _good(found: Examined) -> list[str]:
    """The keys that mean what they say, a line for each section."""
    texts = [*found.problems, *(note.text for note in found.notes)]
    said = {text.split(": ")[0] for text in texts}
    inner = {p[:-1] for p in found.marks if p and isinstance(p[-1], str)}  # sections
    inner |= {p[:-1] for p in inner if p and isinstance(p[-1], int)}  # lists of sections
    sections: dict[str, dict[str, None]] = defaultdict(dict)
    for path, mark in found.marks.items():
        leaf = path and path not in inner and isinstance(path[-1], str)
        if leaf and mark.line and not {mark.where(key=True), mark.where(key=False)} & said:
            sections[".".join(map(str, path[:-1])) or "top"][str(path[-1])] = None
    return [f"{section}: {', '.join(keys)}" for section, keys in sections.items()]


def _placed(found: Examined, remarks: Iterable[Advice]) -> list[str]:
    lines = []
    for remark in remarks:
        mark = found.marks.get(remark.path)
        where = f"{mark.where(key=False)}: " if mark else ""
        lines.append(f"{where}{'.'.join(map(str, remark.path))}: {remark.text}")
    return lines


def _look_at_data(options: Options) -> tuple[list[Advice], list[str]]:
    sets = {
        key: data.model_copy(update={"cache": "off"})
        for key, data in options.datasets.items()
        if not all(is_demo(root) and not Path(root).is_dir() for root in data.dataroot_gt + data.dataroot_lq)
    }
    opened, problems = open_each(options, sets, shares=1)
    for key, images in opened.items():
        if options.datasets[key].part == "held_out":
            print(f"datasets.{key}: set aside, not trained on: {listed(images.names)}\n")
    return list(unwise_data(options, opened)), problems


def _missing_weights(options: Options) -> list[str]:
    files = {key: getattr(options.path, key) for key in _FILES_OF_WEIGHTS}
    return [
        f"path.{key}: {file}: {no_file(Path(file))}"
        for key, file in files.items()
        if file and not is_address(file) and not Path(file).is_file()
    ]


def _propose(file: Path, new: Path | None, found: Examined) -> None:
    text = "" if is_toml(file) else read_text(file)
    today = rewritten(text, written_part(found.tree, found.marks))
    if new:
        _write(new, today)
    elif today == text:
        print("the file is in today's form")
    else:
        print(f"--- the file in today's form\n{today}---\n")
    block = automation_block(found.options) if found.options and found.options.train else ""
    if block:
        print(f"--- automations that it does not mention, to be merged into it\n{block}---\n")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.stat()  # a mistyped folder is not made
        with atomic_write(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
    print(f"written: {path}")
