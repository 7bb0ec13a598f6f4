"""What the scores of a validation are used for before the automations see them."""

from __future__ import annotations

from traiNNer.events import ValidationEvent
from traiNNer.training.outputs import Outputs
from traiNNer.training.parts import Parts
from traiNNer.training.state import Progress


def use_scores(event: ValidationEvent, parts: Parts, outputs: Outputs, progress: Progress) -> None:
    """Keep the best weights, move a schedule that follows the validations, and write the scores down."""
    validator, plateau = parts.validator, parts.plateau
    assert validator, "a validation has a validator"
    score, higher = validator.headline(event)
    best = progress.take_score(score, higher_is_better=higher, of=validator.headline_identity(event))
    if best and outputs.checkpointer:
        outputs.checkpointer.save_best(parts.model.networks, progress)
    if plateau:
        score, higher = validator.headline(event, plateau.monitor)
        plateau.observe(score, higher_is_better=higher)
    if outputs.recorder:
        said = "none" if progress.best is None else f"{progress.best:.3f} at {progress.best_step:,}"
        outputs.recorder.validation(event, said)
