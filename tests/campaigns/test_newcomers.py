"""What one gets wrong in the first hour, at random: said in few lines with the cause, before anything is made."""

import random
import re
import shutil

import pytest
from campaigns.attempts import Attempts, Findings

from traiNNer.data.images.image_io import read_image, write_image

COUNT = 150


def swapped(root, rng, options, part):
    data = options["datasets"][part]
    data["dataroot_gt"], data["dataroot_lq"] = data["dataroot_lq"], data["dataroot_gt"]
    return r"swapped"


def wrong_scale(root, rng, options, part):
    options["scale"] = rng.choice((1, 3, 4, 8))
    return r"scale should be 2|at scale 1|needs a GT|times LQ"


def one_folder_twice(root, rng, options, part):
    data = options["datasets"][part]
    data["dataroot_lq"] = data["dataroot_gt"]
    return r"is given as dataroot_gt and as dataroot_lq"


def missing_folder(root, rng, options, part):
    key = rng.choice(("dataroot_gt", "dataroot_lq"))
    options["datasets"][part][key] += rng.choice(("x", "/deeper", "  "))
    return r"is not a folder|make_lr"


def a_file_for_a_folder(root, rng, options, part):
    key = rng.choice(("dataroot_gt", "dataroot_lq"))
    folder = options["datasets"][part][key]
    options["datasets"][part][key] = (
        str(min((root / folder).iterdir())) if (root / folder).is_dir() else folder
    )
    return r"is a file, not a folder"


def nothing_in_it(root, rng, options, part):
    key = rng.choice(("dataroot_gt", "dataroot_lq"))
    empty = root / "empty"
    empty.mkdir(exist_ok=True)
    options["datasets"][part][key] = str(empty)
    return r"empty.*no image|no image|without an? (LQ|GT) image|holds no"


def other_names(root, rng, options, part):
    folder = root / part / "LRx2"
    for path in folder.iterdir():
        path.rename(path.with_name(f"{path.stem}x2{path.suffix}"))
    return r"filename_tmpl"


def enlarged_first(root, rng, options, part):
    """LQ images enlarged to the size of GT, as for SRCNN."""
    for path in (root / part / "LRx2").iterdir():
        write_image(path, read_image(path).repeat(2, 0).repeat(2, 1))
    return r"GT and LQ have the same size|are of the same size|should hold images made smaller by 2"


def quarter(root, rng, options, part):
    for path in (root / part / "LRx2").iterdir():
        write_image(path, read_image(path)[::2, ::2])
    return r"scale should be 4"


def mistyped(root, rng, options, part):
    section = rng.choice(
        (options["train"], options["datasets"]["train"], options["val"], options["logger"], options)
    )
    key = rng.choice(list(section))
    section[key[:-2] + key[-1] + key[-2] if key[-1] != key[-2] else key + "q"] = section.pop(key)
    return r"unknown key|is required|needs"


def not_a_number(root, rng, options, part):
    place = rng.choice(
        (("train", "total_iter"), ("datasets", "train", "lq_size"), ("scale",), ("val", "val_freq"))
    )
    section = options
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = rng.choice(("many", "1O0", "", None, [], -4, 0, 1e99, True))
    return rf"{'.'.join(place)}"


MISTAKES = (
    swapped, wrong_scale, one_folder_twice, missing_folder, a_file_for_a_folder, nothing_in_it, other_names,
    enlarged_first, quarter, mistyped, not_a_number,
)  # fmt: skip
HARMLESS = (mistyped, not_a_number)
"""May leave something that is right: another key that is optional, or a value that means the default."""


@pytest.mark.slow
def test_a_mistake_is_said_in_few_lines_before_anything_is_made(tmp_path):
    attempts, rng = Attempts(tmp_path), random.Random(19)
    findings = Findings()
    for index in range(COUNT):
        with findings.gather():
            mistake, part = MISTAKES[index % len(MISTAKES)], rng.choice(("train", "val"))
            options, root = attempts.options(), tmp_path / "mine"
            shutil.copytree(tmp_path / "demo", root)
            for key, data in options["datasets"].items():
                data |= {"dataroot_gt": str(root / key / "HR"), "dataroot_lq": str(root / key / "LRx2")}
                data["skip_bad_images"] = rng.random() < 0.3
            expected = mistake(root, rng, options, part)
            about = index, mistake.__name__, part, options
            check = rng.random() < 0.5
            done, said, _ = attempts.run(options, about, *(["--check"] if check else []))
            if done.returncode or mistake not in HARMLESS:
                assert done.returncode == 2, (about, said)
                assert re.search(expected, said), (about, said)
                assert not (tmp_path / "experiments" / str(options.get("name"))).exists(), (about, said)
            assert len(said.splitlines()) < 25 or not done.returncode, (about, said)
            shutil.rmtree(root)
            attempts.clear()
    findings.none()
