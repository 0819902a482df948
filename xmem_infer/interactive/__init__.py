"""Help for annotators: a mask from a box and clicks, and which frame to correct next."""
