"""What helps a person annotate: a mask from a box and clicks, the frame to correct next."""
