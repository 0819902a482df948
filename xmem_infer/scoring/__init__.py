"""Scoring of predicted masks against annotations: metrics, scored folders, reports and charts."""
