"""When a run has learned what it can."""

from traiNNer.automations.stopping import early_stopping

__all__ = ["early_stopping"]
