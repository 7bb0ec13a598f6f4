"""What a step computes: networks, losses and the update, without knowing about files or options."""
