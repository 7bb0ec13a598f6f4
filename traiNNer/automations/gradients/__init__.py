"""Lengths of gradients: clipping, and what their course says of a run's health."""

from traiNNer.automations.gradients import gradient_clipping, stabilizer

__all__ = ["gradient_clipping", "stabilizer"]
