"""Batch evaluation: runs, records, test-time augmentation, executors, submission archives."""
