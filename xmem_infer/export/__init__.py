"""Masks in the formats of other programs: annotations, cut-outs, videos."""
