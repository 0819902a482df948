"""What measures or makes the product: ablation, benchmark, training. The product imports nothing of it."""
