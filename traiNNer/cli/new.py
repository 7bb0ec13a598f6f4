"""Write a configuration from a recipe: its values and comments, your name and your photographs.

    trainner new my.yml --recipe nano --gt photos

With `--gt` alone the low-resolution images are made from the photographs while training, by bicubic,
and some of the photographs are set aside for validation.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from traiNNer.cli.ending import ends_in_words
from traiNNer.options.file_names import name_fault
from traiNNer.options.recipes import SCHEMA, recipes
from traiNNer.registry import ConfigError
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.wording import shell_line


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    found = recipes()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE.yml", help="to write; its name becomes that of the run"
    )
    parser.add_argument("--recipe", default="nano", help=f"{', '.join(found)}; nano by default")
    parser.add_argument("--gt", metavar="FOLDER", help="high-resolution photographs to train on")
    parser.add_argument("--lq", metavar="FOLDER", help="their low-resolution images, where you have them")
    parser.add_argument(
        "--val_gt",
        metavar="FOLDER",
        help="other photographs, to validate on; by default some of those of --gt are set aside",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the file. Returns the exit status, 2 where it cannot be written so."""
    found = recipes()
    args = command_line().parse_args(arguments)
    recipe = found.get(args.recipe.lower())
    if recipe is None:
        raise ConfigError(f"--recipe {args.recipe}: there is none of that name; there are {', '.join(found)}")
    _check(args)
    text = write_recipe(recipe, args.file, gt=args.gt, lq=args.lq, val_gt=args.val_gt)
    with atomic_write(args.file) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"written: {args.file}")
    for lacking in _lacking_weights(text):
        print(f"It begins from {lacking}, which is not there: train that run first, or name other weights")
    print(f"To train: {shell_line('trainner', 'train', '-opt', args.file)}")
    return 0


def _lacking_weights(text: str) -> list[str]:
    """Files of weights that a recipe begins from and that are not there yet."""
    path = YAML(typ="safe").load(text).get("path") or {}
    return [file for key, file in path.items() if key.startswith("pretrain_") and not Path(file).is_file()]


def _check(args: argparse.Namespace) -> None:
    _check_file(args)
    _check_folders(args)


def _check_file(args: argparse.Namespace) -> None:
    if args.file.exists() and not args.overwrite:
        raise ConfigError(f"{args.file}: is there already (--overwrite replaces it)")
    if not args.file.absolute().parent.is_dir():
        raise ConfigError(f"{args.file}: there is no folder {args.file.parent}")
    if args.file.suffix.lower() == ".toml":
        raise ConfigError(f"{args.file}: should end with .yml; it is written as YAML")
    if fault := name_fault(args.file.stem):
        raise ConfigError(f"{args.file}: gives the run its name, which should be {fault}")


def _check_folders(args: argparse.Namespace) -> None:
    if args.lq and not args.gt:
        raise ConfigError("--lq: goes with --gt, the photographs that the images were made from")
    if args.val_gt and not args.gt:
        raise ConfigError("--val_gt: goes with --gt; the recipe's own data come with their own validation")
    for option in ("gt", "lq", "val_gt"):
        folder = getattr(args, option)
        if folder and not Path(folder).expanduser().is_dir():
            raise ConfigError(f"--{option} {folder}: no such folder")


def write_recipe(recipe: Path, file: Path, *, gt: str | None, lq: str | None, val_gt: str | None) -> str:
    """The text of a configuration: that of a recipe with its comments, for another file, with other data."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096
    text = recipe.read_text(encoding="utf-8")
    tree = yaml.load(text[text.index("\nname:") :])  # what stands above describes the recipe as it is
    tree["name"] = file.stem
    if gt:
        _use(tree["datasets"]["train"], gt, lq)
    for key in [key for key in tree["datasets"] if gt and key != "train"]:
        if val_gt:
            _use(tree["datasets"][key], val_gt, None)
        else:
            del tree["datasets"][key]
    if gt and not val_gt:
        tree["datasets"]["val"] = "auto"
        remark = "some of the photographs, set aside; or a data set as `train` is"
        tree["datasets"].yaml_add_eol_comment(remark, "val")
        tree["datasets"].ca.items["val"][2].value += "\n\n"  # the empty line that went with the recipe's set
    stream = io.StringIO()
    yaml.dump(tree, stream)
    long_run = " Values marked `long run` are for a model to keep." if "long run" in stream.getvalue() else ""
    head = (
        f"# yaml-language-server: $schema={SCHEMA.as_uri()}\n"
        f"# From the recipe {recipe.stem}.{long_run} What it says: `{shell_line('trainner', 'check', file)}`\n"
    )
    return head + stream.getvalue()


def _use(data: dict[str, Any], gt: str, lq: str | None) -> None:
    """Give a data set its folders; a type that degrades photographs keeps doing so."""
    data["name"], data["dataroot_gt"] = Path(gt).resolve().name, gt
    if lq:
        data["type"], data["dataroot_lq"] = "PairedImageDataset", lq
    elif "dataroot_lq" in data:
        data["type"] = "SingleGtDataset"  # bicubic, while training
        del data["dataroot_lq"]
