"""Frames and masks in, results out: everything that touches the disk except checkpoints."""
