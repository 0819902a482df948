"""Cutie (CVPR 2024, arXiv 2310.12982): XMem's trunks, keys and memory reading, and an object transformer."""
