"""Times of this project's formulation against the published one, in one run."""
