"""What an entry of OpenModelDB may hold, and what is wrong or missing in one.

As told by `src/lib/schema.ts`, `model-props.ts`, `validate-model.ts`, `schema-util.ts` and `license.ts` of
OpenModelDB/open-model-database and, for the names, its `data/architectures.json` and `data/tags.json`, all as they
were at the end of 2025.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from traiNNer.registry import Problem, did_you_mean, problems_of

ARCHITECTURES = {
    "atd", "cain", "cain-yuv", "compact", "craft", "cugan", "dat", "dctlsa", "ditn", "drct", "edsr",
    "esrgan", "esrgan+", "grl", "hat", "hma", "ludvae", "mosr", "omnisr", "rcan", "real-cugan", "realplksr",
    "realplksr-dysample", "rgt", "rife", "sofvsr", "span", "spsr", "sr-res-net", "srformer", "swift-srgan",
    "swinir", "tscunet",
}  # fmt: skip
"""The networks it knows."""
TAGS = {
    "anime", "anti-aliasing", "cartoon", "colorization", "compression-removal", "dds", "debanding",
    "deblur", "dedither", "dehalo", "denoise", "faces", "game-textures", "general-upscaler", "inpainting",
    "jpeg", "manga", "photo", "pixel-art", "pretrained", "research", "restoration", "text",
    "texture-generation", "video-frame",
}  # fmt: skip
"""What a model is for."""


def _trimmed(text: str) -> str:
    if text != text.strip():
        raise ValueError("should not begin or end with white space")
    return text


def _several(one: Any) -> Any:
    return [one] if isinstance(one, str) else one


def _a_day(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ValueError("should be a date as 2026-01-31")
    datetime.date.fromisoformat(text)
    return text


def _lasting(url: str) -> str:
    if url.startswith("https://cdn.discordapp.com/"):
        raise ValueError("addresses at Discord end after a day; the files should lie elsewhere")
    return url


def _spdx(text: str) -> str:
    if not all(re.fullmatch(r"[a-zA-Z0-9.\-]+", part) for part in re.split(r"\s+OR\s+", text)):
        raise ValueError("should be an SPDX identifier, such as CC-BY-4.0 or Apache-2.0")
    return text


_Text = Annotated[str, StringConstraints(min_length=1)]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$")]
_MODEL_ID = r"\d+x-[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*"
_ModelId = Annotated[str, StringConstraints(pattern=f"^{_MODEL_ID}$")]
_Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$"), AfterValidator(_lasting)]
_Count = Annotated[int, Field(ge=1)]
_Channels = Annotated[int, Field(ge=1, le=4)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _File(_Strict):
    size: _Count
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]
    urls: Annotated[list[_Url], Field(min_length=1)]


class _Weights(_File):
    platform: Literal["pytorch"]
    type: Literal["pth", "safetensors"]


class _Onnx(_File):
    platform: Literal["onnx"]
    type: Literal["onnx"]


_Resource = Annotated[_Weights | _Onnx, Field(discriminator="platform")]


class _Paired(_Strict):
    type: Literal["paired"]
    caption: str | None = None
    LR: _Url
    SR: _Url


class _Standalone(_Strict):
    type: Literal["standalone"]
    caption: str | None = None
    url: _Url


_Image = Annotated[_Paired | _Standalone, Field(discriminator="type")]


class _Entry(_Strict):
    """In the file the names are in camel case. Thumbnails are made by the site and do not belong there."""

    model_config = ConfigDict(alias_generator=to_camel)

    name: _Text
    author: Annotated[list[_Name], Field(min_length=1), BeforeValidator(_several)]
    license: Annotated[str, AfterValidator(_spdx)] | None = None
    tags: Annotated[list[_Name], Field(min_length=1)]
    description: Annotated[str, AfterValidator(_trimmed)]
    date: Annotated[str, AfterValidator(_a_day)]
    architecture: _Text
    size: Annotated[list[_Text], Field(min_length=1)] | None = None
    scale: Annotated[int, Field(ge=1, le=16)]
    input_channels: _Channels
    output_channels: _Channels
    resources: Annotated[list[_Resource], Field(min_length=1)]
    dataset: str | None = None
    dataset_size: _Count | None = None
    training_iterations: _Count | None = None
    training_epochs: _Count | None = None
    training_batch_size: _Count | None = None
    training_hr_size: _Count | None = Field(default=None, alias="trainingHRSize")
    training_otf: bool | None = Field(default=None, alias="trainingOTF")
    pretrained_model_g: _ModelId | None = None
    pretrained_model_d: _ModelId | None = None
    images: list[_Image]


def entry_problems(entry: Any, identity: str) -> list[str]:
    """What the database would refuse of an entry, in words; empty: nothing.

    Args:
        entry: The content of the file.
        identity: Its name without `.json`.
    """
    found = [f"{_place(problem.path)}: {problem.message}" for problem in field_problems(entry)]
    if not re.fullmatch(_MODEL_ID, identity):
        found.append(
            f"{identity}.json: should be named <scale>x-<Name>.json, of letters, digits and single dashes"
        )
    elif isinstance(entry, Mapping) and not identity.startswith(f"{entry.get('scale')}x-"):
        found.append(f"{identity}.json: its name should begin with the scale ({entry.get('scale')}x-)")
    return found


def field_problems(entry: Any) -> list[Problem]:
    """What it would refuse of the fields alone, by their names in the file."""
    try:
        _Entry.model_validate(entry)
    except ValidationError as error:
        return [
            Problem(problem.path, problem.message.removeprefix("value error, "))
            for problem in problems_of(error)
        ]
    return []


def _place(path: Sequence[str | int]) -> str:
    """Where in the file; pydantic also names which of several forms it tried, which is left out."""
    tried = {"pytorch", "onnx", "paired", "standalone"}
    named = [key for k, key in enumerate(path) if not (key in tried and isinstance(path[k - 1], int))]
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in named).removeprefix(".")


def still_to_say(entry: Mapping[str, Any]) -> list[str]:
    """What a person still has to say in an entry, or to do for it; names that the database may not know."""
    blank = [key for key in ("author", "license", "tags", "description") if not entry.get(key)]
    if not all(resource["urls"] for resource in entry["resources"]):
        blank.append("resources.urls")
    if not entry["images"]:
        blank.append("images")
    unknown = [
        f"tags ({tag} is not one of theirs{did_you_mean(tag, TAGS)})"
        for tag in entry["tags"]
        if tag not in TAGS
    ]
    name = entry["architecture"]
    if name not in ARCHITECTURES:
        unknown.append(f"architecture (theirs have no {name}: it is added to their data/architectures.json)")
    return [*blank, *unknown]
