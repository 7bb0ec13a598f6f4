"""What `scripts/upscale.py` does: upscale a file, a folder or a video, and say what could not be upscaled."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from traiNNer.cli.arguments import not_negative
from traiNNer.cli.ending import INTERRUPTED, ends_in_words
from traiNNer.cli.overrides import COLOR_HELP, network_overrides
from traiNNer.cli.upscale_jobs import Job, find_jobs
from traiNNer.data.images.image_io import ImageError, eight_bits, image_size
from traiNNer.inference.load import Trained, load_trained
from traiNNer.inference.picture import PictureFile, read_picture_file
from traiNNer.inference.picture_writer import (
    ANIMATED,
    PAGED,
    write_animation,
    write_pages,
    write_picture,
)
from traiNNer.inference.upscale import ImageUpscaler
from traiNNer.inference.video import VIDEO_SUFFIXES, Reader, frames_written
from traiNNer.models.out_of_memory import is_out_of_memory
from traiNNer.registry import ConfigError
from traiNNer.runtime.console import end_logging, start_logging
from traiNNer.runtime.memory import MemoryTooSmallError
from traiNNer.runtime.os_errors import NOTHING_MORE, with_remedy
from traiNNer.wording import shell_line

_log = logging.getLogger(__name__)


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Upscale what the command line names; returns the exit status.

    0: done. 1: some files could not be upscaled; they are listed. 2: a mistake on the command line, in words.
    130: stopped by Ctrl-C.
    """
    args = command_line().parse_intermixed_args(arguments)
    console = Console()
    start_logging(console if console.is_terminal else None, quiet=False)
    try:
        overrides, device = network_overrides(args.overrides), choose_device(args.device)
        jobs = find_jobs(args.input, args.output, suffix=args.suffix, form=args.format)
        if not args.overwrite:
            jobs, done = [job for job in jobs if not job.target.exists()], len(jobs)
            if len(jobs) < done:
                _print(
                    console, f"{done - len(jobs)} of {done} are there already (--overwrite makes them anew)"
                )
        if not jobs:
            return 0
        trained = load_trained(args.model, overrides, key=args.key, color=args.color)
        return _upscale_all(trained, jobs, device, args, console)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what is finished stays, and the same command goes on with the rest\n")
        return INTERRUPTED
    finally:
        end_logging()


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        description="Upscale images, folders of images or a video with a trained network."
    )
    parser.add_argument("model", type=Path, help=".safetensors or .pth; which network it is, is found out")
    parser.add_argument("input", type=Path, help="an image, a folder (with those inside it), or a video")
    parser.add_argument("output", type=Path, help="a folder, or for one file the file to write")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="options of the network"
    )
    parser.add_argument("--key", metavar="NAME", help="where the weights are in a file that holds several")
    parser.add_argument("--color", choices=("y", "grey"), help=COLOR_HELP)
    parser.add_argument("--overwrite", action="store_true", help="make files anew that exist")
    parser.add_argument(
        "--ensemble", action="store_true", help="average eight flips and turns: 8 times the work"
    )
    parser.add_argument(
        "--tile", type=not_negative, metavar="N", help="side of tiles in pixels; 0: none; else by memory"
    )
    parser.add_argument("--device", help="such as cuda:1, mps or cpu; the first GPU by default")
    low = parser.add_mutually_exclusive_group()
    low.add_argument("--fp16", action="store_true", help="compute in half precision: less memory, 11 bits")
    low.add_argument("--bf16", action="store_true", help="compute in bfloat16: no overflow, but 8 bits")
    parser.add_argument("--suffix", default="", help="for names, such as _2x, unless output is a file")
    parser.add_argument(
        "--format",
        default="png",
        choices=("png", "jpg", "webp", "tif"),
        help="of images, unless output is a file",
    )
    return parser


def choose_device(name: str | None) -> torch.device:
    """The device of that name, or the best there is.

    Raises:
        ConfigError: For one that is not there.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the second: torch without CUDA
        raise ConfigError(f"--device {name}: cannot be used ({str(error).splitlines()[0]})") from None
    return device


def _upscale_all(
    trained: Trained, jobs: Sequence[Job], device: torch.device, args: argparse.Namespace, console: Console
) -> int:
    problems: list[str] = []
    losses: Counter[str] = Counter()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        shown = _Shown(bar, jobs)
        upscaler = ImageUpscaler(
            trained.net,
            trained.facts,
            device=device,
            dtype=torch.float16 if args.fp16 else torch.bfloat16 if args.bf16 else torch.float32,
            tile=args.tile,
            color=trained.color,
            ensemble=args.ensemble,
            on_pixels=lambda pixels: shown.advance(pixels / upscaler.passes),
        )
        for number, job in enumerate(jobs):
            shown.begin(number)
            try:
                losses.update(_enlarge_one(upscaler, job))
            except (ImageError, ArithmeticError, OSError, MemoryError, RuntimeError) as error:
                text = _reason(error)
                problems.append(text if text.startswith(str(job.source)) else f"{job.source}: {text}")
        shown.end()
    made = len(jobs) - len(problems)
    where = f": {jobs[0].target}" if made == len(jobs) == 1 else f" in {args.output}" if made else ""
    _print(console, f"{made} of {len(jobs)} upscaled by {upscaler.facts.scale}{where}")
    for loss, count in losses.items():
        _print(console, f"{count} {loss}")
    for problem in problems:
        sys.stderr.write(f"failed: {problem}\n")
    return 1 if problems else 0


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Shown:
    """The bar: its unit is the LQ pixel, so that large images count for more.

    Tiles overlap: an image that is done sets the count right.
    """

    def __init__(self, bar: Progress, jobs: Sequence[Job]) -> None:
        self._bar, self._jobs = bar, jobs
        self._before = [0.0]
        for job in jobs:
            self._before.append(self._before[-1] + _pixels(job.source))
        self._task = bar.add_task("", total=self._before[-1])
        self._next = 0.0

    def begin(self, number: int) -> None:
        """The images before `number` are done."""
        self._next = self._before[number + 1]
        name = f"{number + 1} of {len(self._jobs)}: {escape(self._jobs[number].source.name)}"
        self._bar.update(self._task, completed=self._before[number], description=name)

    def end(self) -> None:
        """All are done."""
        self._bar.update(self._task, completed=self._before[-1], description="done")

    def advance(self, pixels: float) -> None:
        """More of the image is done."""
        done = min(self._bar.tasks[0].completed + pixels, self._next)
        self._bar.update(self._task, completed=done)


def _pixels(path: Path) -> float:
    """How many pixels will be worked on, as far as the header tells."""
    try:
        if path.suffix.lower() in VIDEO_SUFFIXES:
            with Reader(path) as video:
                return video.height * video.width * video.frames
        height, width = image_size(path)
    except ImageError:
        return 0  # said when its turn comes
    return height * width


def _enlarge_one(upscaler: ImageUpscaler, job: Job) -> list[str]:
    """Make one file; returns what it had to lose."""
    if job.source.suffix.lower() in VIDEO_SUFFIXES:
        with Reader(job.source) as video:
            frames_written(job.target, (upscaler.pixels(frame) for frame in video), video.frames_per_second)
        whole = job.target.with_name(f"{job.target.stem}_with_sound.mkv")  # which holds every codec
        inputs = ("-i", job.target, "-i", job.source)
        add = shell_line("ffmpeg", *inputs, "-map", "0:v", "-map", "1:a?", "-c", "copy", whole)
        return [f"without sound, which stays in the input; to put it in: {add}"]
    return _enlarge_picture(upscaler, read_picture_file(job.source), job.target)


def _enlarge_picture(upscaler: ImageUpscaler, file: PictureFile, target: Path) -> list[str]:
    """Make an image of each frame or page that the format can hold; returns what it had to lose."""
    suffix, images = target.suffix.lower(), (upscaler.picture(frame) for frame in file.frames)
    if file.number > 1 and file.durations and suffix in ANIMATED:
        write_animation(target, map(eight_bits, images), file.durations, file.loop, file.profile)
        return []
    if file.number > 1 and not file.durations and suffix in PAGED:
        write_pages(target, images)
        return ["without the colour profile, which files of several pages are written without"] * bool(
            file.profile
        )
    losses = write_picture(target, next(images), file.profile)
    if file.number > 1:
        what, form = ("frames", "webp") if file.durations else ("pages", "tif")
        losses.append(f"without all {what} but the first, as {suffix[1:]} files (--format {form} keeps them)")
    return losses


def _reason(error: Exception) -> str:
    """Why a file could not be made; raises what would meet all others too."""
    if isinstance(error, OSError):
        if error.errno in NOTHING_MORE:
            raise error
        return with_remedy(error)
    if is_out_of_memory(error):
        return "out of memory; smaller tiles may fit (--tile 128)"
    if isinstance(error, RuntimeError) and not isinstance(error, MemoryTooSmallError):
        raise error
    return str(error)
