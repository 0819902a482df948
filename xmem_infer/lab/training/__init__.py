"""Training of the embedded model: synthetic and real clips, loss, training loop. Inference never imports it."""
