"""Results to disk: masks, overlay, preview, confidence, scores, charts."""
