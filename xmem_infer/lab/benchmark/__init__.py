"""Time, arithmetic and memory of this project's variants against the published formulation, in one run."""
