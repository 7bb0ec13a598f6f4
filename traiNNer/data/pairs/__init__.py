"""Which files belong together, and whether they fit."""
