"""Writing of results: masks, overlay video, preview sheet, confidence table, probabilities."""
