"""What a card does with the networks of this trainer, and what to write into the YAML for it."""
