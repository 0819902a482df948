"""Training of the embedded model: pseudo-videos and clips, loss, loop. Never imported by inference."""
