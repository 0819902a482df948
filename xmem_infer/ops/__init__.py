"""Pure tensor functions: memory readout, soft aggregation, padding and resizing."""
