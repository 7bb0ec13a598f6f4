"""Options that are accepted and do nothing, because another one is off: said in a note, once each."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from traiNNer.options.document import COMMAND_LINE, MISSING, Draft
from traiNNer.options.shape import section_at
from traiNNer.options.yaml_source import Path


class _Idle(NamedTuple):
    """Options without effect unless the option at `needs` has a value that is not in `off`."""

    options: tuple[Path, ...]
    needs: Path
    off: tuple[Any, ...]
    remedy: str


def _in(section: str, *keys: str) -> tuple[Path, ...]:
    return tuple((section, key) for key in keys)


_UNSET = (MISSING, None, False)
_OF_DISCRIMINATOR = (
    *_in("train", "optim_d", "scheduler_d", "net_d_start_iter", "net_d_iters", "net_d_init_iters"),
    *_in("train", "net_d_reg_every"),
    *_in("path", "pretrain_network_d"),
)
_IDLE = (
    _Idle((("compile_mode",),), ("use_compile",), _UNSET, "use_compile: true"),
    _Idle(
        _in("train", "ema_power", "ema_update_after_step"), ("train", "ema_decay"), (*_UNSET, 0), "ema_decay"
    ),
    _Idle(_in("train", "moa_augs", "moa_probs"), ("train", "use_moa"), _UNSET, "use_moa: true"),
    _Idle((("val", "suffix"),), ("val", "save_img"), (False,), "save_img: true"),
)
_WARNED = (
    _Idle((("amp_bf16",),), ("use_amp",), _UNSET, "use_amp: true"),
    _Idle(_OF_DISCRIMINATOR, ("network_d",), _UNSET, "network_d"),
)
_OF_TRAINING_SETS = (
    "lq_size", "gt_size", "batch_size_per_gpu", "accum_iter", "num_worker_per_gpu", "use_hflip", "use_rot",
    "pin_memory", "prefetch_factor",
)  # fmt: skip
"""What a set that is only measured does not read: whole images, one by one."""


def note_idle(draft: Draft) -> None:
    """Leave a note on each option that was written, is not at its default and does nothing."""
    for level, rules in ((logging.WARNING, _WARNED), (logging.INFO, _IDLE)):
        for rule in rules:
            if draft.get(rule.needs) in rule.off:
                for path in rule.options:
                    _note(draft, level, path, f"has no effect without {rule.remedy}")
    for path in draft.matches(("datasets", "*")):
        for key in _OF_TRAINING_SETS if path[-1] != "train" else ():
            _note(draft, logging.INFO, (*path, key), "has no effect: this set is not trained on")
    _note_automations(draft)


def _note_automations(draft: Draft) -> None:
    for path in draft.matches(("train", "training_automations", "*")):
        if draft.get((*path, "enabled")) is False:
            _note(draft, logging.INFO, (*path, "fallback"), "has no effect: the automation is off")
    scheduling, losses = ("train", "dynamic_loss_scheduling"), draft.get(("train", "losses"))
    if draft.get((*scheduling, "enabled")) is True and isinstance(losses, list) and len(losses) == 1:
        _note(draft, logging.INFO, scheduling, "has no effect: there is one loss, which keeps its weight")


def _note(draft: Draft, level: int, path: Path, text: str) -> None:
    value, section = draft.get(path), section_at(path[:-1])
    mark = draft.marks.get(path)
    if mark is None or not (mark.line or mark.source == COMMAND_LINE) or value in (MISSING, None):
        return
    field = section.model_fields.get(str(path[-1])) if section else None
    if field is None or value != field.default:
        draft.note(level, path, text)
