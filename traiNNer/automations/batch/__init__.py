"""How many samples a step takes, and in how many pieces."""

from traiNNer.automations.batch import batch_size

__all__ = ["batch_size"]
