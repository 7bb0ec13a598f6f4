"""The training loop: steps, windows, decisions that become effects, validation, checkpoints."""
