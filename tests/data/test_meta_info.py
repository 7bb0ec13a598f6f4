"""`meta_info_file`: which images of a data set are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_run

from traiNNer.data.images.image_io import write_image
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.registry import ConfigError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Four images, of which `c` has no LQ, and an LQ that has no GT."""
    for name in ("a", "sub/b", "c", "d e"):
        (tmp_path / "gt" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lq" / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / f"gt/{name}.png", np.zeros((8, 8, 3), np.uint8))
        if name != "c":
            write_image(tmp_path / f"lq/{name}x2.png", np.zeros((4, 4, 3), np.uint8))
    write_image(tmp_path / "lq/alonex2.png", np.zeros((4, 4, 3), np.uint8))
    return tmp_path / "gt", tmp_path / "lq"


def opened(folders: tuple[Path, Path], text: str, encoding: str = "utf-8") -> PairedImageDataset:
    file = folders[0].parent / "list.txt"
    file.write_text(text, encoding=encoding)
    gt, lq = folders
    return PairedImageDataset([gt], [lq], 2, filename_tmpl="{}x2", meta_info_file=file)


def test_a_list_chooses_the_images_and_the_others_are_not_missed(folders: tuple[Path, Path]) -> None:
    found = opened(folders, "sub/b.png (8,8,3)\n\n./d e.png (8, 8, 3)\r\n")
    assert sorted(found.names) == ["d e", "sub/b"]
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):  # the last two from Windows' editors and its shell
        assert opened(folders, "a.png\n", encoding).names == ["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.png\nz.png (1,1,3)\n", r"names of meta_info_file that are not in .*\n  z"),
        ("a.png\nc.png\n", r"GT images in .* without an LQ image in .*\n  c.png"),
        ("gt/a.png, lq/a.png\n", "names two files in a line"),
        ("\n", "names no image"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(text: str, said: str, folders: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match=said):
        opened(folders, text)


def test_a_run_trains_on_the_images_of_the_list_under_either_name(tmp_path: Path) -> None:
    small_run.write_data(tmp_path)
    names = sorted(path.name for path in (tmp_path / "demo/train/HR").iterdir())[:2]
    (tmp_path / "list.txt").write_text("\n".join(names))
    for option in ("meta_info_file", "meta_info"):
        configuration = small_run.options(tmp_path)
        configuration["datasets"]["train"][option] = str(tmp_path / "list.txt")
        done = small_run.train(small_run.write_options(tmp_path, configuration), "--check")
        assert "datasets.train: 2 pairs" in done.stdout, done.stderr
