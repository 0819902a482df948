"""Checkpoint files: where they are, reading them safely, their names and ours, fetching the published ones."""
