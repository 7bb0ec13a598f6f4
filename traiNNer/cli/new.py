"""Write a configuration from a recipe: its values and comments, your name and your photographs.

    trainner new my.yml --recipe nano --gt photos

With `--gt` alone the low-resolution images are made from the photographs while training, by bicubic,
and some of the photographs are set aside for validation. For a network of your choice:

    trainner new my.yml --network realplksr --scale 4 --recipe otf_gan --gt photos

Its recipes are fidelity (the default), gan, otf_fidelity and otf_gan, as traiNNer-redux's templates are called;
otf: bad images of the web are made from the photographs while training.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from traiNNer.cli.ending import ends_in_words
from traiNNer.options.file_names import name_fault
from traiNNer.options.recipes import PURPOSES, SCHEMA, recipes
from traiNNer.registry import ConfigError, normalise
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.wording import shell_line

_RATES = {"optim_g": "2e-4", "optim_d": "1e-4"}
"""Those of most of traiNNer-redux's templates, of generators from scratch and of discriminators."""
_SECTION = re.compile(r"(^[ \w].*\n)(?=[a-z_]+:\n)", re.MULTILINE)
"""A line with a section of the top level right below it."""


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    found = recipes()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE.yml", help="to write; its name becomes that of the run"
    )
    known = f"{', '.join(found)}; nano by default. With --network: {', '.join(PURPOSES)} too, the first by default"
    parser.add_argument("--recipe", help=known)
    parser.add_argument(
        "--network",
        metavar="NAME",
        help="train this one in the place of the recipe's, such as realplksr or span",
    )
    parser.add_argument(
        "--scale", type=int, metavar="N", help="enlarge N times, in the place of the recipe's"
    )
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
    args = command_line().parse_args(arguments)
    recipe = _recipe(args.recipe, of_any_network=args.network is not None)
    _check(args)
    text = write_recipe(recipe, args.file, args)
    with atomic_write(args.file) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"written: {args.file}")
    for lacking in _lacking_weights(text):
        print(f"It begins from {lacking}, which is not there: train that run first, or name other weights")
    print(f"To train: {shell_line('trainner', 'train', '-opt', args.file)}")
    return 0


def _recipe(name: str | None, *, of_any_network: bool) -> Path:
    found = recipes()
    purposes = {purpose: found[recipe] for purpose, recipe in PURPOSES.items()} if of_any_network else {}
    known = purposes | found
    recipe = known.get((name or next(iter(purposes), "nano")).lower())
    if recipe is None:
        hint = f"{name} goes with --network" if name in PURPOSES else "there is none of that name"
        raise ConfigError(f"--recipe {name}: {hint}; there are {', '.join(known)}")
    return recipe


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
    if args.scale and not args.gt:
        raise ConfigError("--scale: goes with --gt; the recipe's own data have its own scale")
    if args.val_gt and not args.gt:
        raise ConfigError("--val_gt: goes with --gt; the recipe's own data come with their own validation")
    for option in ("gt", "lq", "val_gt"):
        folder = getattr(args, option)
        if folder and not Path(folder).expanduser().is_dir():
            raise ConfigError(f"--{option} {folder}: no such folder")


def write_recipe(recipe: Path, file: Path, args: argparse.Namespace) -> str:
    """The text of a configuration: that of a recipe with its comments, with what the command line changes.

    Raises:
        ConfigError: If the network is not there, or takes neither the scale nor the weights of the recipe.
    """
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096
    text = recipe.read_text(encoding="utf-8")
    tree = yaml.load(text[text.index("\nname:") :])  # what stands above describes the recipe as it is
    tree["name"], tree["scale"] = file.stem, args.scale or tree["scale"]
    other = bool(args.network) and normalise(args.network) != normalise(tree["network_g"]["type"])
    if other:
        _give_network(tree, args.network)
    if args.network or args.scale:
        _try_network(tree)
    if args.gt:
        _give_data(tree["datasets"], args.gt, args.lq, args.val_gt)
    if tree["scale"] == 1 and tree["datasets"]["train"]["type"] == "SingleGtDataset":
        raise ConfigError("--scale 1: nothing is shrunk, so LQ would be GT: give --lq, or take otf_fidelity")
    stream = io.StringIO()
    yaml.dump(tree, stream)
    body = _SECTION.sub(r"\1\n", stream.getvalue())
    remarks = [f"From the recipe {recipe.stem}."]
    if other:
        remarks.append(f"{args.network} has the rates of traiNNer-redux's templates.")
    if "long run" in body:
        remarks.append("Values marked `long run` are for a model to keep.")
    remarks.append(f"What it says: `{shell_line('trainner', 'check', file)}`")
    return f"# yaml-language-server: $schema={SCHEMA.as_uri()}\n# {' '.join(remarks)}\n{body}"


def _give_network(tree: CommentedMap, network: str) -> None:
    """Another network, with the rates of traiNNer-redux's templates."""
    if "path" in tree:
        raise ConfigError(
            f"--network {network}: the recipe begins from weights of its own network; take gan, which needs none"
        )
    tree["network_g"] = CommentedMap(type=network)
    for key, rate in _RATES.items():
        if key in tree["train"]:
            text = f"type: AdamW\nlr: {rate}\nbetas: [0.9, 0.99]\nweight_decay: 0"
            tree["train"][key] = YAML().load(text)


def _try_network(tree: CommentedMap) -> None:
    """Raises: ConfigError: If the network does not exist or does not take the scale."""
    from traiNNer.archs import NETWORKS  # torch, for which `new` waits only here
    from traiNNer.archs.outline import outline
    from traiNNer.build.check_networks import check_generator

    if problems := [problem.below("network_g") for problem in check_generator(tree)]:
        raise ConfigError([f"{'.'.join(map(str, problem.path))}: {problem.message}" for problem in problems])
    with outline():
        NETWORKS.build({"scale": tree["scale"], **tree["network_g"]})


def _give_data(sets: CommentedMap, gt: str, lq: str | None, val_gt: str | None) -> None:
    """Other photographs to train on, and to validate on: others, or some of them."""
    _use(sets["train"], gt, lq)
    for key in [key for key in sets if key != "train"]:
        if val_gt:
            _use(sets[key], val_gt, None)
        else:
            del sets[key]
    if not val_gt:
        sets["val"] = "auto"
        sets.yaml_add_eol_comment("some of the photographs, set aside; or a data set as `train` is", "val")
        sets.ca.items["val"][2].value += "\n\n"  # the empty line that went with the recipe's set


def _use(data: dict[str, Any], gt: str, lq: str | None) -> None:
    """Give a data set its folders; a type that degrades photographs keeps doing so."""
    data["name"], data["dataroot_gt"] = Path(gt).resolve().name, gt
    if lq:
        data["type"], data["dataroot_lq"] = "PairedImageDataset", lq
    elif "dataroot_lq" in data:
        data["type"] = "SingleGtDataset"  # bicubic, while training
        del data["dataroot_lq"]
