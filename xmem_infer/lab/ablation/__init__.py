"""Measurements over gradient modes and precisions, and checks of the documents' claims against them."""
