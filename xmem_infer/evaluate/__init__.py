"""A batch of videos: run, records, test-time augmentation, executors, server zips."""
