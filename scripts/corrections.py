"""Measure the effect of one true mask later in a video: `python scripts/corrections.py FOLDER [--at FRAME]`.

The folder holds clips in DAVIS layout with masks on every frame. Prints a table of J&F by object over the scored frames
before and after the correction: without it, with it, and with it permanently in memory.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from xmem_infer.cli.commands import run_script
from xmem_infer.errors import UsageError
from xmem_infer.interrupts import check
from xmem_infer.lab.report import table
from xmem_infer.lab.training.validation import Clip, find_clips
from xmem_infer.predictor import Segmenter
from xmem_infer.scoring.score_video import score_video

HEAD = ("clip", "object", "before", "after, not corrected", "corrected", "corrected, permanent")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="J&F before and after a correction, with and without data.permanent.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="clips in a DAVIS layout")
    parser.add_argument("--weights", default="auto", help="checkpoint; default: the embedded model")
    parser.add_argument("--size", type=int, default=480, help="short side in px")
    parser.add_argument("--frames", type=int, help="at most so many frames of each clip")
    parser.add_argument("--at", type=int, help="index of the corrected frame; default: the middle one")
    args = parser.parse_args()
    clips = find_clips(args.folder, frames=args.frames)
    corrected = [(clip, len(clip.masks) // 2 if args.at is None else args.at) for clip in clips]
    for clip, at in corrected:
        last = len(clip.masks) - 3  # the first and the last frame are not scored
        if last < 2:
            raise UsageError(f"{clip.name} has {len(clip.masks)} frames; 5 are needed for scores before and after one")
        if not 2 <= at <= last:
            raise UsageError(f"--at {at} leaves no scored frame of {clip.name} on one side: give 2 to {last}")
    segmenter = Segmenter.from_weights(args.weights, precision="fp32", size=args.size)
    rows = [row for clip, at in corrected for row in _rows(segmenter, clip, at)]
    means = [f"{np.mean([float(row[column]) for row in rows]):.1f}" for column in range(2, len(HEAD))]
    print(table(HEAD, [*rows, ("mean", "", *means)]))


def _rows(segmenter: Segmenter, clip: Clip, at: int) -> list[tuple[str, ...]]:
    labels = clip.labels()
    curves = []
    for later, permanent in (({}, ()), ({at: labels[at]}, ()), ({at: labels[at]}, (at,))):
        masks = []
        for result in segmenter.segment(clip.images(), labels[0], later, permanent):
            check()
            masks.append(result.mask)
        print(f"{clip.name}: {len(later)} corrections, {len(permanent)} permanent", file=sys.stderr)
        curves.append({scored.object_id: scored for scored in score_video(masks, labels, name=clip.name).objects})
    rows = []
    for object_id, scored in curves[0].items():
        index = at - 1 - scored.start  # of frame `at` in the scores; the first frame of a clip is not scored
        before = scored.overall[: max(index, 0)]
        figures = [before, *(curve[object_id].overall[max(index + 1, 0) :] for curve in curves)]
        if all(len(values) for values in figures):
            rows.append((clip.name, str(object_id), *(f"{100 * values.mean():.1f}" for values in figures)))
    return rows


if __name__ == "__main__":
    run_script(main)
