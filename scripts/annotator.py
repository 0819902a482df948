"""Measure the effect of corrections with a simulated annotator: `python scripts/annotator.py FOLDER [FOLDER ...]`.

Each folder holds clips in DAVIS layout with masks on every frame. Prints two tables: J&F after the first mask and after
corrected frames, chosen by three strategies; number of clicks to a good first mask, by method.
"""

import argparse
from pathlib import Path

from xmem_infer.cli.commands import run_script
from xmem_infer.lab.annotator import measure
from xmem_infer.lab.training.validation import find_clips
from xmem_infer.predictor import Segmenter


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="J&F by corrected frames, and clicks to a first mask.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="clips in a DAVIS layout")
    parser.add_argument("--weights", default="auto", help="checkpoint; default: the embedded model")
    parser.add_argument("--size", type=int, default=240, help="short side of the pictures in px")
    parser.add_argument("--frames", type=int, default=24, help="at most so many frames of each clip, evenly spread")
    parser.add_argument("--seeds", type=int, default=3, help="how often frames are chosen at random")
    parser.add_argument("--report", type=Path, default=Path("output/annotator"), help="folder of report.md")
    args = parser.parse_args()
    segmenter = Segmenter.from_weights(args.weights, precision="fp32", size=args.size)
    clips = [clip for folder in args.folders for clip in find_clips(folder)]
    print(measure(segmenter, clips, args.size, args.frames, args.seeds, args.report))


if __name__ == "__main__":
    run_script(main)
