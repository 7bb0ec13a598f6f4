"""The update of networks that train against each other."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from traiNNer.control import Controls
from traiNNer.optim.learner import NO_LIMIT, GradientCheck, Learner, Update


def move_together(
    players: Mapping[str, Learner], controls: Controls, *, held: bool, measured: bool
) -> dict[str, Update]:
    """Update all networks that have a gradient, or none if one gradient is not fit for it.

    Args:
        players: Generator ("g") and, where it trains, discriminator ("d").
        controls: Limits on the norms, and what the generator's loss was multiplied by.
        held: It is not the generator's turn: it is measured and stays as it is.
        measured: Compare the generator's weights before and after.
    """
    limits = {name: controls.clip.get(name, NO_LIMIT) for name in players}
    scales = {name: controls.loss_scale if name == "g" else 1.0 for name in players}
    checks = {name: learner.check_gradient(limits[name], scales[name]) for name, learner in players.items()}
    ok = checks["g"].ok if len(checks) == 1 else torch.stack([check.ok for check in checks.values()]).all()
    updates: dict[str, Update] = {}
    # those without a state go first: nothing has to be undone if memory does not suffice for it
    for name, learner in sorted(players.items(), key=lambda item: item[1].has_stepped):
        both = GradientCheck(checks[name].norm, ok)
        if name == "g" and held:
            updates[name] = learner.skip_update(both)
        else:
            updates[name] = learner.step(
                limits[name], scales[name], check=both, measured=measured and name == "g"
            )
    return updates
