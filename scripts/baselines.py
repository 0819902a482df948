"""Compare the embedded model with two baselines: `python scripts/baselines.py FOLDER [FOLDER ...] [--weights FILE]`.

Each folder holds clips in DAVIS layout with masks on every frame. Prints a table for each folder.
"""

import argparse
from pathlib import Path

from xmem_infer.cli.commands import run_script
from xmem_infer.config import Precision
from xmem_infer.lab.training.validation import compare, fill_card, find_clips, markdown, methods, split_card


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="J&F of a network, of the copied first mask and of optical flow.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="clips in a DAVIS layout")
    parser.add_argument("--weights", help="checkpoint; without it only the baselines are scored")
    parser.add_argument("--sizes", type=int, nargs="+", default=[240, 360, 480], help="short sides in px")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "fp16", "int8"])
    parser.add_argument("--frames", type=int, help="at most so many frames of each clip")
    parser.add_argument("--card", type=Path, help="model card whose table of scores is replaced")
    args = parser.parse_args()
    if args.card:
        split_card(args.card)  # fails early if the card has no place for the scores
    tracks = methods(args.weights, args.sizes, [Precision(name) for name in args.precisions])
    sets = [(folder.name, find_clips(folder, frames=args.frames)) for folder in args.folders]
    parts = []
    for name, clips in sets:
        rows = compare(clips, tracks)
        parts.append(markdown(name, rows))
        print(parts[-1], flush=True)
    if args.card:
        fill_card(args.card, "\n\n".join(parts))


if __name__ == "__main__":
    run_script(main)
