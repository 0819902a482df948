"""Pure tensor functions: memory reading, soft aggregation, padding and resizing."""
