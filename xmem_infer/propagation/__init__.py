"""Tracking from reference frames in either or both directions, and memory files."""
