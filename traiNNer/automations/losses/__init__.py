"""Weights of losses over a run."""

from traiNNer.automations.losses import loss_scheduling

__all__ = ["loss_scheduling"]
