"""Running a training: the loop, its files, its processes, and the one place that reads the options."""
