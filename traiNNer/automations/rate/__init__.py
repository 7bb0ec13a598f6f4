"""The learning rate: found by trials, tried against its neighbours, cut where a run needs it."""

from traiNNer.automations.rate import learning_rate

__all__ = ["learning_rate"]
