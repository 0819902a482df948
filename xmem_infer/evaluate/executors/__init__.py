"""Executors: run a batch of videos in this process, in worker processes, or in actors of a Ray cluster."""
