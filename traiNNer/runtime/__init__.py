"""The machine under a run: devices, memory, processes, signals, console, folders and files."""
