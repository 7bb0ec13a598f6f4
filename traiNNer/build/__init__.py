"""From options to objects: beside the command line, the one place that reads the options."""
