"""Tools to measure or build the product: ablation, benchmark, training. Nothing outside this package imports it."""
