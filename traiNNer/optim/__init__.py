"""Optimizers, learning-rate schedules and the running average of the weights."""
