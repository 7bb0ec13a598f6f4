"""From options to objects: the one place that reads the options."""
