"""What a run was made of: its name, settings, data and machine, kept in its states and compared on resuming.

The promise that a resumed run is the same run rests on all of it. What has changed is said, in one line a kind.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import nn

from traiNNer.archs.download import local_file
from traiNNer.data.images.image_io import IMAGE_SUFFIXES
from traiNNer.options import Options
from traiNNer.registry import ConfigError
from traiNNer.training.checkpoint import Start
from traiNNer.wording import counted, shortened

_ELSEWHERE = ("name", "path", "auto_resume", "launcher", "logger")
"""Sections and keys that change nothing that is computed."""
_MOST = 8  # changes that are named
_NEAR = 0.8  # share of a learning rate that a step may change without a word
_TINY = 1e-12
_log = logging.getLogger(__name__)


class Changes(NamedTuple):
    """What differs between a state and the run that goes on from it, in words; empty where nothing does."""

    run: str
    """The run that the state is of, where it is another."""
    settings: list[str]
    ground: list[str]
    """Data and machine: what the same bits rest on and nobody has asked to change."""


def origin(options: Options, device: torch.device) -> dict[str, Any]:
    """Plain values for a training state. Looks at the size of every file of the data."""
    tree = json.loads(options.model_dump_json())
    return {
        "name": options.name,
        "settings": {key: value for key, value in tree.items() if key not in _ELSEWHERE},
        "data": {
            f"datasets.{key}.{kind}[{index}]": _fingerprint(Path(root))
            for key, data in options.datasets.items()
            for kind in ("dataroot_gt", "dataroot_lq")
            for index, root in enumerate(getattr(data, kind))
        },
        "teacher": _checksum(options.path.pretrain_network_g_teacher),
        "machine": _machine(device),
    }


def changes(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Changes:
    """What has changed since a state was written; nothing is known of states that do not say."""
    if not then:
        return Changes("", [], [])
    ground = [
        _ground_change(name, then["data"].get(name), now["data"].get(name))
        for name in then["data"].keys() | now["data"].keys()
        if then["data"].get(name) != now["data"].get(name)
    ]
    if then.get("teacher") != now.get("teacher"):
        ground.append("path.pretrain_network_g_teacher: another file")
    machine = _differences(then["machine"], now["machine"], "")
    run = "" if then["name"] == now["name"] else str(then["name"])
    return Changes(run, _differences(then["settings"], now["settings"], ""), sorted(ground) + machine)


def _in_a_line(changes: Sequence[str]) -> str:
    return ", ".join(shortened(changes, _MOST))


def refuse_other_networks(start: Start, now: Mapping[str, Any], net: nn.Module) -> None:
    """Name the options of the network that a state was written with, before any file is touched.

    Raises:
        ConfigError: If its weights do not fit; states of before 2026-11-27 do not tell the options.
    """
    there = {key: tuple(tensor.shape) for key, tensor in start.parts["model"]["generator"]["net"].items()}
    here = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    if there == here:
        return
    then = start.parts.get("origin") or {"settings": {}}
    pairs = _pairs(then["settings"].get("network_g", {}), now["settings"]["network_g"], "network_g")
    pairs += _pairs(then["settings"].get("scale"), now["settings"]["scale"], "scale")
    said = [f"{key} was {_value(old)} there, is {_value(new)} here" for key, old, new in pairs]
    if "origin" not in start.parts:
        key = next(key for key in (*there, *here) if there.get(key) != here.get(key))
        said = [f"{key} has the shape {there.get(key)} there, {here.get(key)} here"]
    raise ConfigError(
        f"{start.path} does not fit this configuration: {_in_a_line(said)}; another network is another run: give "
        "it another name, and path.pretrain_network_g to begin with what fits"
    )


def _machine(device: torch.device) -> dict[str, str]:
    versions = {"torch": str(torch.__version__), "cv2": cv2.__version__, "numpy": np.__version__}
    if device.type == "cuda":
        return {**versions, "card": torch.cuda.get_device_name(device)}
    return {**versions, "device": device.type, "threads": str(torch.get_num_threads())}


def _fingerprint(root: Path) -> dict[str, Any]:
    """How many images a folder holds, their bytes, and a checksum of their names and sizes."""
    count = checksum = total = 0
    for name, size in sorted(_images(root)):
        count, total = count + 1, total + size
        checksum = zlib.crc32(os.fsencode(f"{name}\0{size}\n"), checksum)
    return {"files": count, "bytes": total, "checksum": f"{checksum:08x}"}


def _checksum(file: str | None) -> str | None:
    return f"{zlib.crc32(local_file(file).read_bytes()):08x}" if file else None


def _images(root: Path) -> Iterator[tuple[str, int]]:
    """Relative path and bytes of every image below a folder."""
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(folder) / name
            if path.suffix.lower() in IMAGE_SUFFIXES and path.exists():
                yield path.relative_to(root).as_posix(), path.stat().st_size


def _files(of: Mapping[str, Any] | None) -> str:
    return f"{counted(of['files'], 'file', form=',')} of {of['bytes']:,} bytes" if of else "none"


def _ground_change(name: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    old, new = map(_files, (then, now))
    return f"{name}: {old} -> {new}" if old != new else f"{name}: other names or sizes of {old}"


def _differences(then: Any, now: Any, path: str) -> list[str]:
    return [_change(*pair) for pair in _pairs(then, now, path)]


def _change(path: str, old: Any, new: Any) -> str:
    if path == "train.losses" and isinstance(old, list) and isinstance(new, list):
        gone, fresh = ([one for one in of if one not in other] for of, other in ((old, new), (new, old)))
        return "train.losses " + " ".join([*(f"-{_loss(x)}" for x in gone), *(f"+{_loss(x)}" for x in fresh)])
    return f"{path} {_value(old)} -> {_value(new)}"


def _loss(spec: Any) -> str:
    if not isinstance(spec, Mapping):
        return _value(spec)
    rest = ", ".join(f"{key}: {_value(value)}" for key, value in spec.items() if key != "type")
    return f"{spec.get('type')}({rest})" if rest else str(spec.get("type"))


def _pairs(then: Any, now: Any, path: str) -> list[tuple[str, Any, Any]]:
    """Path, old and new value of the smallest parts that differ."""
    if then == now:
        return []
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        keys = [*then, *(key for key in now if key not in then)]
        return [
            pair
            for key in keys
            for pair in _pairs(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [(path, then, now)]


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def say_what_changed(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Changes:
    """Log lines for a run that goes on from a state; returns what they say."""
    found = changes(then, now)
    if found.run:
        _log.warning("The state is of the run %s; this one is %s", found.run, now["name"])
    if found.settings:
        _log.info("Settings that differ from the state's: %s", _in_a_line(found.settings))
    if found.ground:
        _log.warning(
            "What follows is not the exact continuation of the run that was saved, since this has changed: %s",
            _in_a_line(found.ground),
        )
    return found


def say_how_rates_change(then: Mapping[str, float] | None, now: Mapping[str, float], schedule: str) -> None:
    """A line where the next step's learning rate is far from the last one's, as after a longer total_iter."""
    for name, rate in now.items():
        last = (then or {}).get(name)
        if last is not None and not _NEAR < (rate + _TINY) / (last + _TINY) < 1 / _NEAR:
            _log.warning(
                "The learning rate of network %s goes from %.3g to %.3g: so %s stands at this step with today's "
                "settings; a lower train.optim_%s.lr makes the step smaller",
                name,
                last,
                rate,
                schedule,
                name,
            )
