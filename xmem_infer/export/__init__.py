"""Export of masks to the formats of other programs: annotations, cut-outs, videos."""
