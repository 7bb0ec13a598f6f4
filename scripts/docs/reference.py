"""The page of every option: names, values, defaults, meanings; rendered from the schema and the tables of names.

The schema is made from the classes that check a run, so the page says what the program does; what explains it
stands on the pages that it links to.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import docstrings
from option_tables import SECTIONS, Node, listed, markdown_table, options_table, plain
from schema import schema

from traiNNer.archs import NETWORKS
from traiNNer.build.check import LOSSES_NOT_YET
from traiNNer.losses import LOSSES
from traiNNer.metrics import METRICS
from traiNNer.optim.external_optimizers import NAMES as EXTERNAL_OPTIMIZERS
from traiNNer.optim.schedules import SCHEDULES
from traiNNer.options import aliases as names
from traiNNer.options import degradation_forms
from traiNNer.registry import Registry

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
`SparseAdam`, and `Muon` is that of pytorch-optimizer.

`lr: auto` searches the peak rate by short trials before the first step
([automations.md](automations.md#lr-auto)).

Of the package pytorch-optimizer EXTERNAL, with
[its parameters](https://pytorch-optimizers.readthedocs.io). They count steps on the host, which on a GPU is a
wait in every step.

`Muon` (K. Jordan et al., 2024) replaces the momentum of the weights of convolutions and linear layers, as matrices
of one row for each output channel, by the orthogonal matrix nearest to it; biases, slopes, norms and weights of a
single row have AdamW. `lr` (0.02) is the rate of the former, `adamw_lr` (0.0003) that of the latter; a schedule is
for both. With `use_adjusted_lr: true` rates of AdamW suit `lr`. Further `momentum`, `nesterov`, `ns_steps`,
`weight_decay`, `adamw_betas`, `adamw_wd`, `adamw_eps`.

In one run each of 300 steps from `linear_start` (Compact of 16 channels, luma, x2) Muon's `lr` 0.02 with
`adamw_lr` 0.001 had 36.04 dB on Set5, 0.005 had 35.81, and 0.05 with 0.003 had 32.42; AdamW 35.10 at 0.001, 35.30
at 0.003 and 34.77 at 0.006.

The `ScheduleFree` ones (A. Defazio et al., 2024; `adamw_sf` of neosr) need no schedule but a warm-up
(`warmup_steps`, or `train.warmup_iter`): they average the weights over the run. The average is validated and saved
as `net_g_ema` and `net_g_best`, so `ema_decay` has to be 0; `net_g` are the weights in training."""

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
        options_table(tree["properties"], tree["required"]),
        *(part for key, name in SECTIONS.items() for part in _section(key, tree["$defs"][name])),
        *_parts_of(tree),
        *_older(),
        *_not_yet(),
    ]
    return "\n\n".join(sections) + "\n"


def _section(key: str, node: Node) -> Iterator[str]:
    yield f"## {key}\n\n{' '.join(node['description'].split())}"
    yield options_table(node["properties"], node.get("required", ()))


# --- parts -------------------------------------------------------------------------------------------------


def _parts_of(tree: Node) -> Iterator[str]:
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
    yield options_table({key: node for key, node in losses["properties"].items() if key != "type"})
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


def _cases(node: Node, without: str) -> dict[str, dict[str, Node]]:
    """The parameters of each type that a choice offers."""
    return {
        case["if"]["properties"]["type"]["const"]: {
            key: value for key, value in case["then"]["properties"].items() if key != without
        }
        for case in node["allOf"]
    }


def _parts(registry: Registry[Any], node: Node, without: str = "") -> Iterator[str]:
    for case, parameters in zip(node["allOf"], _cases(node, without).items(), strict=True):
        yield from _part(registry, *parameters, required=case["then"].get("required", ()))


def _part(
    registry: Registry[Any], name: str, parameters: Mapping[str, Node], required: Sequence[str] = ()
) -> Iterator[str]:
    yield f"### {name}"
    part = registry.find(name)
    assert part is not None
    yield docstrings.body(part)
    if others := registry.aliases(name):
        yield f"Also {listed(others)}."
    if parameters:
        yield options_table(parameters, required)


def _families(registry: Registry[Any], node: Node, without: str) -> Iterator[str]:
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
            yield markdown_table(("type", "other defaults"), rows)


def _is_own(part: Any) -> bool:
    """Whether it is no variant of another part (`archs.variants`)."""
    return inspect.unwrap(part) is part


def _changes(base: Mapping[str, Node], other: Mapping[str, Node]) -> list[tuple[str, str]]:
    return [(key, plain(node["default"])) for key, node in other.items() if node != base[key]]


# --- other spellings ---------------------------------------------------------------------------------------


def _older() -> Iterator[str]:
    yield "## Older spellings"
    yield (
        "Read as today's options, with a note in the log. `scripts/check_config.py` writes the file in today's "
        "form. Given twice with different values, they are a mistake."
    )
    places = [(".".join(old), ".".join(new)) for old, new in (*names.SILENT_MOVES, *names.MOVES)]
    places += [(f"datasets.*.{old}", f"datasets.*.{new}") for old, new in names.DATASET_NAMES.items()]
    automations = "train.training_automations"
    places += [
        (f"{automations}.{old}", f"{automations}.{new}") for old, new in names.AUTOMATION_ALIASES.items()
    ]
    places += [
        (f"{automations}.{owner}.{old}", f"{automations}.{owner}.{alias.name}")
        for owner, aliases in names.OPTION_ALIASES.items()
        for old, alias in aliases.items()
    ]
    yield markdown_table(("written", "read as"), [(f"`{old}`", f"`{new}`") for old, new in places])
    yield (
        f"- Options of `degradation` at the top level and in `datasets.train` (traiNNer-redux, Real-ESRGAN), or "
        f"in `degradations` (neosr). With `{degradation_forms.SWITCH}: true` the others are those of the preset "
        "`redux`, with `false` they ask for nothing. "
        f"{', '.join(f'`{old}` is `{new}`' for old, new in degradation_forms.ALIASES.items())}; "
        f"{listed(degradation_forms.WITHOUT_EFFECT)} have no effect.\n"
        f"- Losses as keys of `train`, each with its `type`: {listed(names.LOSS_FORMS)}.\n"
        "- Automations in snake_case, and directly under `train`; `auto_vram_management` at the top level, too.\n"
        "- `reduction: mean` of a loss, `better` of a metric, `scale` of a data set or of `network_g` where it "
        "equals that of the configuration: nothing to say, accepted.\n"
        f"- Options of automations without effect any more, with a warning: {listed(names.DEPRECATED_OPTIONS)}. "
        "An option under the wrong automation is ignored with a warning that names the right one.\n"
        f"- Decided by the program, ignored with a note: {listed(_internal())}."
    )


def _internal() -> Iterator[str]:
    return (".".join((*place, key)) for place, keys in names.INTERNAL.items() for key in keys)


def _not_yet() -> Iterator[str]:
    yield "## Not supported yet"
    yield (
        "Known from other trainers. Accepted where they ask for nothing (their usual default, `false`, `null`, "
        "`enabled: false`, or the feature's switch off); otherwise the run is refused with these words."
    )
    rows = [(f"`{'.'.join(f.place)}`" if f.place else "top level", listed(f.options)) for f in names.FEATURES]
    missing = [name for name in LOSSES_NOT_YET if LOSSES.find(f"{name}loss") is None]
    rows += [("`train.losses`", listed(missing))] if missing else []
    yield markdown_table(("where", "options"), rows)
