"""Which metric of which validation set early stopping goes by."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from traiNNer.registry import ConfigError, did_you_mean

_log = logging.getLogger(__name__)


class Monitored(NamedTuple):
    """A metric of a validation set."""

    label: str
    """As it is written; empty where nothing is measured."""
    set_name: str
    """Empty: the first set."""
    metric: str
    higher_is_better: bool


def monitored(name: str, written: str | None, known: Mapping[str, bool]) -> Monitored:
    """What `monitor_metric` means; what the program has chosen is said where it is not PSNR.

    Args:
        name: Of who says it.
        written: `psnr`, `val/psnr` or `<set>/psnr`; None: PSNR where it is measured, else the first metric.
        known: Direction of every metric.

    Raises:
        ConfigError: Where no such metric is measured.
    """
    if written is None and not known:
        _log.info("%s: no validation measures anything; only a loss that is not finite ends the run", name)
        return Monitored("", "", "", True)
    label = written or f"val/{'psnr' if 'psnr' in known else next(iter(known))}"
    set_name, _, metric = label.rpartition("/")
    if metric not in known:
        hint = did_you_mean(metric, known) or f"; known: {', '.join(known) or 'none'}"
        raise ConfigError(f"monitor_metric: no metric named {label!r} in val.metrics{hint}")
    if written is None and metric != "psnr":
        _log.info("%s: psnr is not among val.metrics; it goes by %s", name, label)
    return Monitored(label, "" if set_name == "val" else set_name, metric, known[metric])
