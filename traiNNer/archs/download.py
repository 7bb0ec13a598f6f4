"""Files of weights that are named by their address: downloaded once, into the cache of torch.hub."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urldefrag, urlsplit
from urllib.request import Request, urlopen

import torch
from filelock import FileLock

from traiNNer.registry import ConfigError

_log = logging.getLogger(__name__)


def is_address(file: str | Path) -> bool:
    """Whether a file is named by an address of the web."""
    return re.match(r"https?://", str(file), re.IGNORECASE) is not None


def local_file(file: str | Path) -> Path:
    """The file itself, or the local copy of an address, which is downloaded where there is none.

    `~` at the beginning of a file is the home of the user.
    `#sha256=...` at the end of an address is the checksum that the file must have, new or kept. Copies lie in
    `checkpoints` of `torch.hub.get_dir()` (`TORCH_HOME` moves it), each under a name of its own address.

    Raises:
        ConfigError: If it cannot be downloaded, or has another checksum.
    """
    if not is_address(file):
        return Path(os.path.expanduser(file))  # noqa: PTH111 - Path refuses a name that begins so
    address, fragment = urldefrag(str(file))
    wanted = _checksum(address, fragment)
    name = Path(unquote(urlsplit(address).path)).name or "weights.pth"
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    kept = folder / f"{hashlib.sha256(address.encode()).hexdigest()[:8]}-{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{kept}.lock"):  # the processes of a run share one download
            if not kept.is_file():
                _log.info("Downloading %s to %s", address, kept)
                _download(address, kept)
    except (URLError, OSError, ValueError, HTTPException) as error:
        raise ConfigError(
            f"{address}: cannot be downloaded ({getattr(error, 'reason', error)}); without a connection put the "
            f"file at {kept}, or name a file of this machine"
        ) from None
    with kept.open("rb") as file_of_weights:
        found = hashlib.file_digest(file_of_weights, "sha256").hexdigest() if wanted else ""
    if found != wanted:
        kept.unlink()
        raise ConfigError(f"{address}: its SHA-256 is {found}, and {wanted} was asked for; it is not used")
    return kept


def _download(address: str, kept: Path) -> None:
    """The whole of what an address has, or nothing: torch.hub would keep what came before a connection broke."""
    partial = kept.with_name(f"{kept.name}.partial")
    try:
        request = Request(address, headers={"User-Agent": "torch.hub"})  # some servers refuse Python's own
        with urlopen(request) as answer, partial.open("wb") as file:
            shutil.copyfileobj(answer, file)
            found, announced = file.tell(), int(answer.headers.get("Content-Length") or file.tell())
        if found != announced:
            raise URLError(f"the connection broke after {found:,} of {announced:,} bytes")
        partial.replace(kept)
    finally:
        partial.unlink(missing_ok=True)


def _checksum(address: str, fragment: str) -> str:
    wanted = fragment.removeprefix("sha256=").lower()
    if fragment and not (fragment.startswith("sha256=") and re.fullmatch(r"[0-9a-f]{64}", wanted)):
        raise ConfigError(f"{address}: what follows # should be sha256= and 64 hexadecimal digits")
    return wanted
