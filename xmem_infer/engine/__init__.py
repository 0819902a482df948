"""The frame loop of one video: schedule, objects, state, and the engine that steps it."""
