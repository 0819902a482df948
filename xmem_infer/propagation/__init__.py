"""Passes over a video from reference frames, in any direction, and memories in files."""
