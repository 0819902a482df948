"""The frame loop of one video: schedule, per-video state, drift detection, and the engine that runs them."""
