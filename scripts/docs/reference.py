"""The page of every option: names, values, defaults, meanings; rendered from the schema and the tables of names.

The schema is made from the classes that check a run, so the page says what the program does; what explains it
stands on the pages that it links to.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import docstrings
from schema import schema

from traiNNer.archs import NETWORKS
from traiNNer.build.check import LOSSES_NOT_YET
from traiNNer.losses import LOSSES
from traiNNer.metrics import METRICS
from traiNNer.optim.external_optimizers import NAMES as EXTERNAL_OPTIMIZERS
from traiNNer.optim.schedules import SCHEDULES
from traiNNer.options import aliases as names
from traiNNer.options import degradation_forms
from traiNNer.options.scalars import write_scalar
from traiNNer.registry import Registry

_Node = Mapping[str, Any]

_SECTIONS = {
    "datasets": "DatasetOptions",
    "path": "PathOptions",
    "train": "TrainOptions",
    "val": "ValOptions",
    "logger": "LogOptions",
    "wandb": "WandbOptions",
    "degradation": "DegradationOptions",
}

_PLACES = {key: key for key in _SECTIONS} | {
    "network_g": "networks",
    "optim_g": "optimizers",
    "network_g_teacher": "networks",
    "network_d": "networks",
    "optim_d": "optimizers",
    "scheduler": "schedules",
    "scheduler_d": "schedules",
    "losses": "losses",
    "metrics": "metrics",
    "training_automations": "automations",
    "dynamic_loss_scheduling": "automations",
}
"""Headings below which the values of an option are described."""

_HEAD = """\
# Every option

Made by `python scripts/docs/make_reference.py` from the code that checks a configuration. Where to begin:
[README](../README.md). Editors show the same while you type: the first line of each recipe names
[the schema](../schemas/traiNNer.schema.json).

- A configuration is one YAML file (YAML 1.2: `1e-4` is a number, `on` is text). Options that are left out
  or `null` have their default. Required are name, scale, a network, `train.total_iter`, a loss and the data.
- Any option can be given on the command line, and wins there: `train.total_iter=1000`,
  `datasets.train.lq_size=48`, `train.losses.0.loss_weight=0.5`.
- Unknown keys, values of the wrong kind and contradictions are all named at once, with their lines, before
  anything starts (exit status 2). `python scripts/check_config.py FILE` explains a whole file, old or new.
- The names of networks, losses, metrics, schedules and optimizers ignore case and underscores.
- `experiments/<name>/resolved.yml` says for every option of a run what it was and where that came from.
- Relative paths start at the current directory. A step is one update of the weights."""

_OPTIMIZERS = """\
`train.optim_g` takes any optimizer of torch (`AdamW`, `Adam`, `NAdam`, `RAdam`, `SGD` and the others of
[torch.optim](https://docs.pytorch.org/docs/stable/optim.html)), with the parameters that torch
gives it; a wrong one is refused by name. The fused kernel is taken where there is one. Not `LBFGS` and
`SparseAdam`.

`lr: auto` searches the peak rate by short trials before the first step
([automations.md](automations.md#lr-auto)).

With the package pytorch-optimizer (`pip install -e ".[optim]"`) also EXTERNAL, with
[its parameters](https://pytorch-optimizers.readthedocs.io). They count steps on the host, which on a GPU is a
wait in every step. Schedule-free ones are refused: they train other weights than those that are validated."""

_AUTOMATIONS = """\
`train.training_automations` is `true` (four of them), or a mapping of automations by name, each
`true`, `false` or a mapping of its options. `train.dynamic_loss_scheduling` is a fifth. What each does, with
its options, units and defaults: [automations.md](automations.md)."""


def reference() -> str:
    """The page, as Markdown."""
    tree = schema()
    sections = [
        _HEAD,
        "## Top level",
        _table(tree["properties"], tree["required"]),
        *(part for key, name in _SECTIONS.items() for part in _section(key, tree["$defs"][name])),
        *_parts_of(tree),
        *_older(),
        *_not_yet(),
    ]
    return "\n\n".join(sections) + "\n"


def _section(key: str, node: _Node) -> Iterator[str]:
    yield f"## {key}\n\n{' '.join(node['description'].split())}"
    yield _table(node["properties"], node.get("required", ()))


# --- parts -------------------------------------------------------------------------------------------------


def _parts_of(tree: _Node) -> Iterator[str]:
    train, val = tree["$defs"]["TrainOptions"]["properties"], tree["$defs"]["ValOptions"]["properties"]
    external = ", ".join(f"`{name}`" for name in EXTERNAL_OPTIMIZERS)
    yield f"## Optimizers\n\n{_OPTIMIZERS.replace('EXTERNAL', external)}"
    yield "## Schedules"
    yield (
        "`train.scheduler` takes one of these. Rates are absolute; steps are counted at the configured batch. "
        "`train.warmup_iter` comes on top. Without a schedule the rate is constant, or what "
        "`IntelligentLearningRateScheduler` falls back to."
    )
    yield from _parts(SCHEDULES, train["scheduler"])
    yield "## Losses"
    yield "Sizes of the values, layers, weights and what shares what: [losses.md](losses.md). Every entry takes:"
    losses = train["losses"]["items"]
    yield _table({key: node for key, node in losses["properties"].items() if key != "type"})
    yield from _parts(LOSSES, losses)
    yield "## Metrics"
    yield (
        "`val.metrics` maps labels to them; a label that is a type needs nothing more (`psnr: {}`). All take "
        "`crop_border`, pixels left out at each edge, by default the scale. Sources and protocol: "
        "[metrics.md](metrics.md)."
    )
    yield from _parts(METRICS, val["metrics"]["additionalProperties"], without="crop_border")
    yield "## Networks"
    yield (
        "`network_g` takes one of these, and `scale`, which is that of the configuration and need not be "
        "written. Sources and sizes: [networks.md](networks.md)."
    )
    yield from _families(NETWORKS, tree["properties"]["network_g"], without="scale")
    yield f"## Automations\n\n{_AUTOMATIONS}"


def _cases(node: _Node, without: str) -> dict[str, dict[str, _Node]]:
    """The parameters of each type that a choice offers."""
    return {
        case["if"]["properties"]["type"]["const"]: {
            key: value for key, value in case["then"]["properties"].items() if key != without
        }
        for case in node["allOf"]
    }


def _parts(registry: Registry[Any], node: _Node, without: str = "") -> Iterator[str]:
    for case, parameters in zip(node["allOf"], _cases(node, without).items(), strict=True):
        yield from _part(registry, *parameters, required=case["then"].get("required", ()))


def _part(
    registry: Registry[Any], name: str, parameters: Mapping[str, _Node], required: Sequence[str] = ()
) -> Iterator[str]:
    yield f"### {name}"
    part = registry.find(name)
    assert part is not None
    yield docstrings.body(part)
    if others := registry.aliases(name):
        yield f"Also {_listed(others)}."
    if parameters:
        yield _table(parameters, required)


def _families(registry: Registry[Any], node: _Node, without: str) -> Iterator[str]:
    """Networks with their parameters; variants as rows of the defaults in which they differ from theirs."""
    cases = _cases(node, without)
    classes = [name for name in cases if _is_own(registry.find(name))]
    for name in classes:
        yield from _part(registry, name, cases[name])
        rows = [
            (f"`{other}`", ", ".join(f"`{key}: {value}`" for key, value in _changes(cases[name], own)))
            for other, own in cases.items()
            if inspect.unwrap(registry.find(other) or _families) is registry.find(name)
            and other not in classes
        ]
        if rows:
            yield _rows(("type", "other defaults"), rows)


def _is_own(part: Any) -> bool:
    """Whether it is no variant of another part (`archs.variants`)."""
    return inspect.unwrap(part) is part


def _changes(base: Mapping[str, _Node], other: Mapping[str, _Node]) -> list[tuple[str, str]]:
    return [(key, _plain(node["default"])) for key, node in other.items() if node != base[key]]


# --- tables ------------------------------------------------------------------------------------------------


def _table(options: Mapping[str, _Node], required: Sequence[str] = ()) -> str:
    rows = []
    for key, node in options.items():
        values, default = _linked(key, _values(node)), _default(node, required=key in required)
        rows.append((f"`{key}`", values, default, node.get("description", "")))
    return _rows(("option", "values", "default", "meaning"), rows)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _linked(key: str, words: str) -> str:
    return f"[{words}](#{_PLACES[key]})" if key in _PLACES else words


_KINDS = {"boolean": "true, false", "string": "text", "object": "mapping"}


def _values(node: _Node) -> str:
    """What an option may be, in words."""
    if "$ref" in node:
        return "mapping"
    if "anyOf" in node:
        words = [_values(case) for case in node["anyOf"] if case.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if "const" in node or "enum" in node:
        return ", ".join(f"`{_plain(value)}`" for value in node.get("enum", [node.get("const")]))
    match node.get("type"):
        case "array":
            return f"list of {_values(node['items'])}s"
        case "integer" | "number" as kind:
            return " ".join(["whole number" if kind == "integer" else "number", *_bounds(node)])
        case [*_]:
            return "text or list of texts"
        case kind:
            return _KINDS.get(str(kind), "any")


def _bounds(node: _Node) -> Iterator[str]:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return (f"{word} {node[key]}" for key, word in words.items() if key in node)


def _default(node: _Node, *, required: bool) -> str:
    value = node.get("default")
    if required:
        return "required"
    return "" if value in (None, [], {}) or "$ref" in node else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_plain, value)) + "]"
        case float():
            return f"{value:g}"
    return write_scalar(value)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


# --- other spellings ---------------------------------------------------------------------------------------


def _older() -> Iterator[str]:
    yield "## Older spellings"
    yield (
        "Read as today's options, with a note in the log. `scripts/check_config.py` writes the file in today's "
        "form. Given twice with different values, they are a mistake."
    )
    places = [(".".join(old), ".".join(new)) for old, new in (*names.SILENT_MOVES, *names.MOVES)]
    automations = "train.training_automations"
    places += [
        (f"{automations}.{old}", f"{automations}.{new}") for old, new in names.AUTOMATION_ALIASES.items()
    ]
    places += [
        (f"{automations}.{owner}.{old}", f"{automations}.{owner}.{alias.name}")
        for owner, aliases in names.OPTION_ALIASES.items()
        for old, alias in aliases.items()
    ]
    yield _rows(("written", "read as"), [(f"`{old}`", f"`{new}`") for old, new in places])
    yield (
        f"- Options of `degradation` at the top level and in `datasets.train` (traiNNer-redux, Real-ESRGAN), or "
        f"in `degradations` (neosr). With `{degradation_forms.SWITCH}: true` the others are those of the preset "
        "`redux`, with `false` they ask for nothing. "
        f"{', '.join(f'`{old}` is `{new}`' for old, new in degradation_forms.ALIASES.items())}; "
        f"{_listed(degradation_forms.WITHOUT_EFFECT)} have no effect.\n"
        f"- Losses as keys of `train`, each with its `type`: {_listed(names.LOSS_FORMS)}.\n"
        "- Automations in snake_case, and directly under `train`; `auto_vram_management` at the top level, too.\n"
        "- `reduction: mean` of a loss, `better` of a metric, `scale` of a data set or of `network_g` where it "
        "equals that of the configuration: nothing to say, accepted.\n"
        f"- Options of automations without effect any more, with a warning: {_listed(names.DEPRECATED_OPTIONS)}. "
        "An option under the wrong automation is ignored with a warning that names the right one.\n"
        f"- Decided by the program, ignored with a note: {_listed(_internal())}."
    )


def _internal() -> Iterator[str]:
    return (".".join((*place, key)) for place, keys in names.INTERNAL.items() for key in keys)


def _not_yet() -> Iterator[str]:
    yield "## Not supported yet"
    yield (
        "Known from other trainers. Accepted where they ask for nothing (their usual default, `false`, `null`, "
        "`enabled: false`, or the feature's switch off); otherwise the run is refused with these words."
    )
    rows = [
        (f"`{'.'.join(f.place)}`" if f.place else "top level", _listed(f.options)) for f in names.FEATURES
    ]
    missing = [name for name in LOSSES_NOT_YET if LOSSES.find(f"{name}loss") is None]
    rows += [("`train.losses`", _listed(missing))] if missing else []
    yield _rows(("where", "options"), rows)
