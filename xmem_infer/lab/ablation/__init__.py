"""Measured runs over gradient modes and precisions, and the documents' claims held against them."""
