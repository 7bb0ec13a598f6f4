"""The commands: each a short `main` that reads its arguments and calls the rooms below."""
