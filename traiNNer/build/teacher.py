"""From options to the teacher: a network from a file, whose output losses with `target: teacher` compare with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from traiNNer.build.networks import network_with_weights
from traiNNer.build.recognised_network import in_words, is_auto, recognised
from traiNNer.build.rehearsal import rehearse_network
from traiNNer.models.precision import Precision
from traiNNer.models.teacher import Teacher
from traiNNer.options import Options

_log = logging.getLogger(__name__)

TARGET = "teacher"
"""What a loss names as its `target` to compare with the teacher's output."""


def teacher_spec(network: Mapping[str, Any] | None, file: str | None) -> Mapping[str, Any] | None:
    """The description of the teacher; a file alone says which network it is of."""
    return network or ({"type": "auto"} if file else None)


def build_teacher(options: Options, precision: Precision) -> Teacher | None:
    """The teacher with its weights, tried with one patch; None where the options name none.

    Raises:
        ConfigError: For a file that is missing, is of no known network or does not fit, and for a network of
            another scale.
    """
    path = options.path
    file, key = path.pretrain_network_g_teacher, path.param_key_g_teacher
    spec = teacher_spec(options.network_g_teacher, file)
    if spec is None or file is None:
        return None
    if is_auto(spec):
        found = recognised(file, key, spec, options.scale)
        _log.info("network_g_teacher: auto: %s is %s", file, in_words(found))
        spec = found.spec
    net = network_with_weights({"scale": options.scale, **spec}, (file, key, True), precision)
    lq_size = options.datasets["train"].lq_size or 0
    rehearse_network(net, lq_size, options.scale, precision, key="network_g_teacher")
    return Teacher(net, precision)
