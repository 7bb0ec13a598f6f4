"""What holds of every end of a command, whatever it was given."""

from __future__ import annotations

import copy
import json
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import small_run


def strict(text: str) -> Any:
    """JSON without NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise AssertionError(f"{text[-80:]!r}: {error}") from error


def ended_in_words(done: small_run.Printed, about: object) -> str:
    """All that was printed, after what must hold of it."""
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1, 2), (about, said)
    assert "Traceback" not in said, (about, said)
    if done.returncode:
        assert said.strip(), about
    return said


def left_whole(root: Path, about: object) -> None:
    """No half made file, and every record strict JSON."""
    for path in root.rglob("*"):
        assert path.suffix not in (".part", ".partial"), (about, path)
        if path.suffix == ".json":
            strict(path.read_text(encoding="utf-8"))
        elif path.suffix == ".jsonl":
            for line in path.read_text(encoding="utf-8").splitlines():
                strict(line)


class Findings:
    """Gathers what fails, so that a campaign reports all of it."""

    def __init__(self) -> None:
        self._found: list[str] = []

    @contextmanager
    def gather(self, about: object = "") -> Iterator[None]:
        """Around one attempt; what it raises is a traceback that users would see."""
        try:
            yield
        except AssertionError as error:
            self._found.append(str(error)[:3000])
        except Exception as error:  # noqa: BLE001 - anything else is what a campaign looks for
            self._found.append(f"{about} " + "".join(traceback.format_exception(error)[-3:]))

    def none(self) -> None:
        """Fail with all of them."""
        assert not self._found, f"{len(self._found)} findings:\n\n" + "\n\n".join(self._found)


class Attempts:
    """Small runs in one folder, each of a name of its own, whose files are removed when they are looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        small_run.write_data(folder)
        self._count = 0

    def options(self, **train: object) -> dict[str, Any]:
        """A configuration of four steps, to be changed."""
        self._count += 1
        train = {"total_iter": 4, "losses": [{"type": "L1Loss"}], **train}
        options = copy.deepcopy(small_run.options(self.folder, **train))
        options["name"] = f"run{self._count}"
        options["val"] = {"val_freq": 2}
        options["logger"] |= {"print_freq": 2, "save_checkpoint_freq": 2}
        return options

    def run(
        self, options: dict[str, Any], about: object, *words: str
    ) -> tuple[small_run.Printed, str, dict[str, Any]]:
        """How it ended, all that was printed, and its summary where there is one."""
        done = small_run.train(small_run.write_options(self.folder, options), *words)
        said = ended_in_words(done, about)
        root = self.folder / "experiments"
        left_whole(root, about)
        summary = root / options["name"] / "summary.json"
        told = strict(summary.read_text(encoding="utf-8")) if summary.is_file() else {}
        if told:
            assert (told["status"] == "failed") == (done.returncode != 0), (about, said)
        return done, said, told

    def clear(self) -> None:
        """Remove what the runs left."""
        shutil.rmtree(self.folder / "experiments", ignore_errors=True)
