"""A simulated annotator: corrects a few frames, chosen by different strategies, and measures the other frames."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image

from ..config import Direction, require
from ..interactive.suggestion import next_to_fix
from ..interrupts import check
from ..io.array_frames import ArrayFrames
from ..predictor import Segmenter
from ..propagation.propagate import propagate
from ..scoring.score_video import score_video
from ..types import LabelMask, ObjectConfidence
from .first_mask import GOOD_IOU, METHODS, MOST_CLICKS, clicks_needed, iou_by_clicks, object_masks
from .report import number, output_folder, setting, setting_table, table, write_page
from .training.validation import Clip, check_frames

log = logging.getLogger(__name__)

HOW = (
    "First table: J&F in percent over all frames but the first and the last, with the true mask of the first frame and "
    "of a number of corrected frames. After each correction, the frames between its neighbouring references are "
    "tracked again from both sides. Second table: masks of the objects in the first frames, from a box or without one, "
    "then by clicks in the largest wrong region. For examples/annotator, the rule of the suggestion and the constants "
    "of the walker were chosen on the same clips: expect less on others."
)
STEPS = (0, 1, 2, 3, 5)  # numbers of corrected frames, and of clicks, after which masks are measured
SUGGESTED, RANDOM, WORST = "suggested", "at random", "truly worst"


@dataclass
class Tracked:
    """Masks and confidences of all frames, and the mean J&F of the objects on all but the first and last frame."""

    masks: dict[int, np.ndarray]
    confidence: dict[int, Mapping[int, ObjectConfidence]]
    scores: np.ndarray


Curve = list[float]  # J&F in percent after STEPS corrections
Choose = Callable[[Tracked, Sequence[int]], int]  # returns one of the given frame indices, the next to correct


class Annotator:
    """Corrects one clip: at most `frames` of its frames, evenly spread, reduced to `size` px on the short side.

    The result for each sequence of references is computed once and cached.
    """

    def __init__(self, segmenter: Segmenter, clip: Clip, size: int, frames: int) -> None:
        self.segmenter, self.name = segmenter, clip.name
        step = max(1, len(clip.pictures) // frames)
        images = [_reduced(Image.open(path).convert("RGB"), size, "BOX") for path in clip.pictures[::step][:frames]]
        self.frames = ArrayFrames(images, clip.name)
        self.labels = [_reduced(Image.open(path), size, "NEAREST") for path in clip.masks[::step][:frames]]
        self.object_ids = sorted(set(np.unique(np.stack(self.labels)).tolist()) - {0})
        self.cache: dict[tuple[int, ...], Tracked] = {}

    def curves(self, seeds: int) -> dict[str, Curve]:
        """Return the J&F by the strategy that chooses the frames. seeds: over which random choices are averaged."""

        def at_random(seed: int) -> Choose:
            rng = np.random.default_rng(seed)
            return lambda tracked, free: int(rng.choice(free))

        return {
            SUGGESTED: self._curve(_suggested),
            RANDOM: _mean(self._curve(at_random(seed)) for seed in range(seeds)),
            WORST: self._curve(lambda tracked, free: min(free, key=lambda index: tracked.scores[index - 1])),
        }

    def _curve(self, choose: Choose) -> Curve:
        references: tuple[int, ...] = (0,)
        tracked = [self._track(references, None)]
        for _ in range(max(STEPS)):
            if free := [index for index in range(1, len(self.labels) - 1) if index not in references]:
                references = (*references, choose(tracked[-1], free))
            tracked.append(self._track(references, tracked[-1]))
        return [100 * float(np.nanmean(tracked[step].scores)) for step in STEPS]

    def _track(self, references: tuple[int, ...], before: Tracked | None) -> Tracked:
        """Track all frames from the first reference; for a further one, only those between its neighbouring references.

        The result depends on the order of the references, because that decides which frames are tracked again.
        """
        if references in self.cache:
            return self.cache[references]
        masks, confidence = ({}, {}) if before is None else (dict(before.masks), dict(before.confidence))
        newest, count = references[-1], len(self.labels)
        first = max((index for index in references if index < newest), default=0)
        last = min((index for index in references if index > newest), default=count - 1)
        given = {index: LabelMask(self.labels[index]) for index in references}
        shown = {id: [i for i, mask in given.items() if id in mask.object_ids()] for id in self.object_ids}
        absent = {id: [(i, i) for i in given if i not in seen] for id, seen in shown.items() if seen}
        results = propagate(
            self.segmenter, self.frames, given, direction=Direction.both, first=first, last=last, absent=absent
        )
        for result in results:
            check()
            masks[result.frame.index], confidence[result.frame.index] = result.mask, result.confidence
        score = score_video([masks[index] for index in range(count)], self.labels, name=self.name)
        self.cache[references] = Tracked(masks, confidence, score.frame_overall())
        return self.cache[references]


def _reduced(image: Image.Image, size: int, method: str) -> np.ndarray:
    scale = min(1.0, size / min(image.size))
    target = (round(image.width * scale), round(image.height * scale))
    return np.array(image.resize(target, Image.Resampling[method]))


def _suggested(tracked: Tracked, free: Sequence[int]) -> int:
    """Choose the frame that the page would suggest. The last frame is excluded because it is not scored."""
    last = max(tracked.confidence)
    candidates = {index: seen for index, seen in tracked.confidence.items() if index < last}
    suggestion = next_to_fix(candidates, [index for index in candidates if index not in free])
    assert suggestion is not None, "there are free frames"
    return suggestion.index


def measure(segmenter: Segmenter, clips: Sequence[Clip], size: int, frames: int, seeds: int, folder: Path) -> str:
    """Measure both tables. Return them as Markdown, and write them to report.md.

    Raises:
        UsageError: `frames` is less than 3, or `seeds` less than 1.
        EnvironmentFault: The folder cannot be written.
    """
    check_frames(frames)
    require(seeds >= 1, "seeds", seeds, "at least 1")
    output_folder(folder)
    corrections: dict[str, dict[str, Curve]] = {}
    clicks = defaultdict[tuple[str, str], list[list[float]]](list)  # IoU by clicks, by object
    for clip in clips:
        corrections[clip.name] = Annotator(segmenter, clip, size, frames).curves(seeds)
        image, labels = np.array(Image.open(clip.pictures[0]).convert("RGB")), np.array(Image.open(clip.masks[0]))
        for name, method in METHODS.items():
            for start in ("a box", "a click"):
                clicks[name, start] += [
                    iou_by_clicks(method, image, truth, box=start == "a box") for truth in object_masks(labels)
                ]
        log.info(f"{clip.name}: done")
    how = f"at {size} px of the short side, at most {frames} frames of each clip; at random: mean of {seeds}"
    subject = {"clips": ", ".join(corrections), "corrections": how, "first masks": "pictures at their own size"}
    conditions = setting(segmenter.prepared.device, subject)
    corrections["**mean**"] = {
        name: _mean(curves[name] for curves in list(corrections.values())) for name in (SUGGESTED, RANDOM, WORST)
    }
    text = "\n\n".join((_corrections_table(corrections), _clicks_table(clicks)))
    write_page(folder / "report.md", ("# A simulated annotator", HOW, text, setting_table(conditions)))
    return text


def _mean(curves: Iterable[Curve]) -> Curve:
    return [fmean(values) for values in zip(*curves, strict=True)]


def _corrections_table(corrections: Mapping[str, Mapping[str, Curve]]) -> str:
    head = ("clip", "frame chosen", *(f"{step} corrected" for step in STEPS))
    rows = [(clip, name, *map(number, curve)) for clip, curves in corrections.items() for name, curve in curves.items()]
    return table(head, rows)


def _clicks_table(clicks: Mapping[tuple[str, str], Sequence[Sequence[float]]]) -> str:
    good = f"clicks to {GOOD_IOU:.0%} IoU"
    head = ("way", "begun with", good, f"not in {MOST_CLICKS}", *(f"IoU after {step}" for step in STEPS))
    rows = []
    for way, curves in clicks.items():
        needed, missed = clicks_needed(curves)
        ious = [f"{100 * fmean(curve[min(step, len(curve) - 1)] for curve in curves):.1f}" for step in STEPS]
        rows.append((*way, f"{needed:.1f}", f"{missed} of {len(curves)}", *ious))
    return table(head, rows)
