"""The JSON schema of configurations, for editors: every option with its description, every part as a choice.

Made from the same classes and signatures that check a run, so it cannot say anything else. An editor shows
older spellings as unknown; `scripts/check_config.py` replaces them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import docstrings
from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from traiNNer.archs import NETWORKS
from traiNNer.automations import AUTOMATIONS
from traiNNer.automations.losses.loss_schedule import LossSchedule
from traiNNer.build.automations import GIVEN, LOSS_SCHEDULING
from traiNNer.losses import LOSSES
from traiNNer.metrics import METRICS
from traiNNer.optim.schedules import SCHEDULES
from traiNNer.options.aliases import ALL_AUTOMATIONS, AUTOMATION_OPTIONS
from traiNNer.options.fields import Options
from traiNNer.registry import Parameter, Registry

_NUMBER = {"type": "number"}
_OPTIMIZERS = ["AdamW", "Adam", "NAdam", "RAdam", "SGD"]
_COMMON = {
    "enabled": {"anyOf": [{"type": "boolean"}, {"const": "auto"}], "description": "Whether it is on."},
    "max_adjustments": {"type": "integer", "minimum": 1, "description": "Decisions after which it freezes."},
    "monitor_only": {"type": "boolean", "description": "Says what it would do, changes nothing."},
}


def schema() -> dict[str, Any]:
    """The schema of a whole configuration (JSON Schema, draft 2020-12)."""
    tree = Options.model_json_schema()
    definitions = tree["$defs"]
    train, val = definitions["TrainOptions"]["properties"], definitions["ValOptions"]["properties"]
    _replace(tree["properties"], "network_g", _choice(NETWORKS, hidden=("scale",)))
    _replace(tree["properties"], "network_g_teacher", {"$ref": "#/properties/network_g"})
    _replace(tree["properties"], "network_d", _choice(NETWORKS))
    _replace(train, "losses", {"type": "array", "items": _choice(LOSSES, more=_loss_options())})
    _replace(train, "optim_g", _optimizer())
    _replace(train, "optim_d", _optimizer())
    for key in ("scheduler", "scheduler_d"):
        _replace(train, key, _choice(SCHEDULES, given=("base_lr", "total_iter")))
    _replace(train, "training_automations", _automations())
    _replace(train, "dynamic_loss_scheduling", _automation(LOSS_SCHEDULING))
    metric = _choice(METRICS, more={"better": {"enum": ["higher", "lower"]}})
    del metric["required"]  # the label is the type where none is given
    _replace(val, "metrics", {"type": "object", "additionalProperties": metric})
    del definitions["DatasetOptions"]["required"]  # the key is the name where none is given
    sets = tree["properties"]["datasets"]
    sets["additionalProperties"] = {"anyOf": [sets["additionalProperties"], {"const": "auto"}]}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    _hoist([*tree["properties"].values(), *definitions.values()], definitions)
    return head | _tidy(tree)


def _hoist(node: Any, definitions: dict[str, Any]) -> None:
    """Move the definitions inside of parts to the top, where references look for them."""
    if isinstance(node, dict):
        definitions.update(node.pop("$defs", {}))
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _hoist(item, definitions)


_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""pydantic leaves its own words where a bound follows a function."""


def _tidy(node: Any) -> Any:
    """Without titles, and with the names of the standard."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {_BOUNDS.get(key, key): _tidy(item) for key, item in node.items() if not _is_title(key, item)}


def _is_title(key: str, item: Any) -> bool:
    return key == "title" and isinstance(item, str)


def _replace(properties: dict[str, Any], key: str, made: Mapping[str, Any]) -> None:
    """Put a schema in the place of an open mapping; its description and default stay."""
    properties[key] = {
        **made,
        **{k: v for k, v in properties[key].items() if k in ("description", "default")},
    }


def _choice(
    registry: Registry[Any],
    *,
    given: Iterable[str] = (),
    hidden: Iterable[str] = (),
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A part of a registry: its `type`, and the parameters of that type.

    Args:
        registry: Where the types are.
        given: Parameters that the program sets.
        hidden: Parameters that need not be written.
        more: Keys that any type may have.
    """
    cases = []
    for name in registry.names():
        parameters, part = registry.parameters(name, given), registry.find(name)
        words = docstrings.arguments(part) if part else {}
        required = [key for key, p in parameters.items() if p.required and key not in hidden]
        body = {"properties": {key: _parameter(p, words.get(key)) for key, p in parameters.items()}}
        cases.append(
            {
                "if": {"properties": {"type": {"const": name}}},
                "then": body | ({"required": required} if required else {}),
            }
        )
    kind = {
        "anyOf": [{"enum": registry.names()}, {"type": "string"}],
        "description": f"Which {registry.kind}.",
    }
    return {
        "type": "object",
        "properties": {"type": kind, **(more or {})},
        "required": ["type"],
        "allOf": cases,
    }


def _optimizer() -> dict[str, Any]:
    """Any optimizer of torch; which there are, and what they take, depends on its version."""
    kind = {"anyOf": [{"enum": _OPTIMIZERS}, {"type": "string"}], "description": "Which optimizer of torch."}
    rate = {"type": "number", "exclusiveMinimum": 0, "description": "Peak learning rate."}
    return {"type": "object", "properties": {"type": kind, "lr": rate, "weight_decay": _NUMBER}}


def _loss_options() -> dict[str, Any]:
    """What any loss may have besides its own parameters."""
    planned = TypeAdapter(LossSchedule).json_schema()["properties"]
    words = docstrings.arguments(LossSchedule)
    return {
        "loss_weight": _NUMBER | {"default": 1.0, "description": "Factor on the loss."},
        "name": {"type": "string", "description": "Label in logs; the type without `Loss` by default."},
        "target": {
            "enum": ["gt", "teacher"],
            "default": "gt",
            "description": "What it compares the output with: the ground truth, or what the teacher makes.",
        },
        **{key: node | {"description": words[key]} for key, node in planned.items()},
    }


def _parameter(parameter: Parameter, description: str | None = None) -> dict[str, Any]:
    try:
        made = TypeAdapter(parameter.hint).json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError):
        made = {}
    default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
    if not parameter.required and (isinstance(default, list) or _is_plain(default)):
        made["default"] = default
    return made | ({"description": description} if description else {})


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _automation(name: str) -> dict[str, Any]:
    own, part = AUTOMATIONS.parameters(name, GIVEN.get(name, ("facts",))), AUTOMATIONS.find(name)
    words = docstrings.arguments(part) if part else {}
    options = {key: _parameter(own[key], words.get(key)) for key in AUTOMATION_OPTIONS[name] if key in own}
    block = {"type": "object", "properties": {**_COMMON, **options}, "additionalProperties": False}
    return {"anyOf": [{"type": "boolean"}, {"const": "auto"}, block]}


def _automations() -> dict[str, Any]:
    parts = {name: _automation(name) for name in AUTOMATION_OPTIONS if name != LOSS_SCHEDULING}
    assert set(ALL_AUTOMATIONS) <= parts.keys()
    block = {
        "type": "object",
        "properties": {"enabled": _COMMON["enabled"], **parts},
        "additionalProperties": False,
    }
    return {"anyOf": [{"type": "boolean"}, {"const": "auto"}, block]}
