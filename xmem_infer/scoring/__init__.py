"""Judging results: region and boundary measures, scored folders, and the tables and pictures made of them."""
