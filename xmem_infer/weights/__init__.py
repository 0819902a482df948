"""Checkpoint files: finding, safely reading, converting and downloading them."""
