"""Which videos there are, with which masks, and what of them is saved."""
