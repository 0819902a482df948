"""A simulated annotator: corrects a few frames, chosen by different strategies, and measures the other frames."""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
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
from .charts import legend, new_figure, save, style_axes
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
CORRECTIONS = (0, 1, 2, 3, 5)  # numbers of corrected frames after which the masks are scored
SUGGESTED, RANDOM, WORST = "suggested", "at random", "truly worst"


@dataclass
class Sample:
    """A subsampled and resized clip: (H, W, 3) uint8 images and (H, W) uint8 true masks."""

    name: str
    images: list[np.ndarray]
    labels: list[np.ndarray]


@dataclass
class Tracked:
    """Masks and confidences of all frames, and the mean J&F of the objects on all but the first and last frame."""

    masks: dict[int, np.ndarray]
    confidence: dict[int, Mapping[int, ObjectConfidence]]
    scores: np.ndarray


Curves = Mapping[str, Sequence[float]]  # J&F after CORRECTIONS, by strategy
Choose = Callable[[Tracked, Sequence[int]], int]  # returns one of the given frame indices, the next to correct


def sample(clip: Clip, size: int, frames: int) -> Sample:
    """Load at most `frames` evenly spread frames of a clip, reduced to `size` px on the short side."""
    step = max(1, len(clip.pictures) // frames)
    images, labels = [], []
    for picture, mask in list(zip(clip.pictures, clip.masks, strict=True))[::step][:frames]:
        image, label = Image.open(picture).convert("RGB"), Image.open(mask)
        scale = min(1.0, size / min(image.size))
        target = (round(image.width * scale), round(image.height * scale))
        images.append(np.array(image.resize(target, Image.Resampling.BOX)))
        labels.append(np.array(label.resize(target, Image.Resampling.NEAREST)))
    return Sample(clip.name, images, labels)


class Annotator:
    """Corrects one clip. The result for each sequence of references is computed once and cached."""

    def __init__(self, segmenter: Segmenter, clip: Sample, seeds: int) -> None:
        self.segmenter, self.clip, self.seeds = segmenter, clip, seeds
        self.frames = ArrayFrames(clip.images, clip.name)
        self.object_ids = sorted(set(np.unique(np.stack(clip.labels)).tolist()) - {0})
        self.cache: dict[tuple[int, ...], Tracked] = {}

    def curves(self) -> Curves:
        """Return the mean J&F in percent after each of CORRECTIONS, by the strategy that chooses the frames."""
        by_seed = [self._curve(self._random(seed)) for seed in range(self.seeds)]
        return {
            SUGGESTED: self._curve(_suggested),
            RANDOM: [fmean(values) for values in zip(*by_seed, strict=True)],
            WORST: self._curve(lambda tracked, free: min(free, key=lambda index: tracked.scores[index - 1])),
        }

    def _random(self, seed: int) -> Choose:
        rng = np.random.default_rng(seed)
        return lambda tracked, free: int(rng.choice(free))

    def _curve(self, choose: Choose) -> list[float]:
        references: tuple[int, ...] = (0,)
        tracked = self._track(references, None)
        after = {0: tracked}
        for done in range(1, max(CORRECTIONS) + 1):
            free = [index for index in range(1, len(self.clip.images) - 1) if index not in references]
            if free:
                references = (*references, choose(tracked, free))
                tracked = self._track(references, tracked)
            after[done] = tracked
        return [100 * float(np.nanmean(after[done].scores)) for done in CORRECTIONS]

    def _track(self, references: tuple[int, ...], before: Tracked | None) -> Tracked:
        """Track all frames from the first reference; for a further one, only those between its neighbouring references.

        The result depends on the order of the references, because that decides which frames are tracked again.
        """
        if references in self.cache:
            return self.cache[references]
        masks, confidence = ({}, {}) if before is None else (dict(before.masks), dict(before.confidence))
        newest, count = references[-1], len(self.clip.images)
        first = max((index for index in references if index < newest), default=0)
        last = min((index for index in references if index > newest), default=count - 1)
        given = {index: LabelMask(self.clip.labels[index]) for index in references}
        shown = {id: [i for i, mask in given.items() if id in mask.object_ids()] for id in self.object_ids}
        absent = {id: [(i, i) for i in given if i not in seen] for id, seen in shown.items() if seen}
        results = propagate(
            self.segmenter, self.frames, given, direction=Direction.both, first=first, last=last, absent=absent
        )
        for result in results:
            check()
            masks[result.frame.index], confidence[result.frame.index] = result.mask, result.confidence
        score = score_video([masks[index] for index in range(count)], self.clip.labels, name=self.clip.name)
        self.cache[references] = Tracked(masks, confidence, score.frame_overall())
        return self.cache[references]


def _suggested(tracked: Tracked, free: Sequence[int]) -> int:
    """Choose the frame that the page would suggest. The last frame is excluded because it is not scored."""
    last = max(tracked.confidence)
    candidates = {index: seen for index, seen in tracked.confidence.items() if index < last}
    suggestion = next_to_fix(candidates, [index for index in candidates if index not in free])
    assert suggestion is not None, "there are free frames"
    return suggestion.index


Clicks = Mapping[tuple[str, bool], Sequence[Sequence[float]]]  # IoU by clicks per object, by method and box or not


def measure(segmenter: Segmenter, clips: Sequence[Clip], size: int, frames: int, seeds: int, folder: Path) -> str:
    """Measure both tables. Return them as Markdown, and write report.md and a picture.

    Raises:
        UsageError: `frames` is less than 3, or `seeds` less than 1.
        EnvironmentFault: The folder cannot be written.
    """
    check_frames(frames)
    require(seeds >= 1, "seeds", seeds, "at least 1")
    output_folder(folder)
    corrections, clicks = {}, defaultdict[tuple[str, bool], list[list[float]]](list)
    for clip in clips:
        corrections[clip.name] = Annotator(segmenter, sample(clip, size, frames), seeds).curves()
        for way, curves in mark(clip).items():
            clicks[way] += curves
        log.info(f"{clip.name}: done")
    mean = {
        name: [fmean(values) for values in zip(*(curves[name] for curves in corrections.values()), strict=True)]
        for name in (SUGGESTED, RANDOM, WORST)
    }
    how = f"at {size} px of the short side, at most {frames} frames of each clip; at random: mean of {seeds}"
    subject = {"clips": ", ".join(corrections), "corrections": how, "first masks": "pictures at their own size"}
    conditions = setting(segmenter.prepared.device, subject)
    text = "\n\n".join((_corrections_table({**corrections, "**mean**": mean}), _clicks_table(clicks)))
    write_page(folder / "report.md", ("# A simulated annotator", HOW, text, setting_table(conditions)))
    _draw(mean, folder)
    return text


def mark(clip: Clip) -> dict[tuple[str, bool], list[list[float]]]:
    """Mark the first mask of each object. Return IoU by clicks, by method and whether marking starts with a box."""
    image, labels = np.array(Image.open(clip.pictures[0]).convert("RGB")), np.array(Image.open(clip.masks[0]))
    objects = object_masks(labels)
    return {
        (name, box): [iou_by_clicks(method, image, truth, box=box) for truth in objects]
        for name, method in METHODS.items()
        for box in (True, False)
    }


def _corrections_table(corrections: Mapping[str, Curves]) -> str:
    head = ("clip", "frame chosen", *(f"{done} corrected" for done in CORRECTIONS))
    rows = [(clip, name, *map(number, curve)) for clip, curves in corrections.items() for name, curve in curves.items()]
    return table(head, rows)


def _clicks_table(clicks: Clicks) -> str:
    after = (0, 1, 2, 3, 5)
    good = f"clicks to {GOOD_IOU:.0%} IoU"
    head = ("way", "begun with", good, f"not in {MOST_CLICKS}", *(f"IoU after {n}" for n in after))
    rows = []
    for (method, box), curves in clicks.items():
        needed, missed = clicks_needed(curves)
        ious = [f"{100 * fmean(curve[min(n, len(curve) - 1)] for curve in curves):.1f}" for n in after]
        rows.append((method, "a box" if box else "a click", f"{needed:.1f}", f"{missed} of {len(curves)}", *ious))
    return table(head, rows)


def _draw(mean: Curves, folder: Path) -> None:
    figure = new_figure(4.6, 3.2)
    axes = figure.subplots()
    for strategy, colour in ((WORST, "#888888"), (SUGGESTED, "#d62728"), (RANDOM, "#1f77b4")):
        axes.plot(CORRECTIONS, mean[strategy], "o-", label=strategy, color=colour)
    axes.set_xlabel("corrected frames", fontsize=8)
    axes.set_xticks(CORRECTIONS)
    style_axes(axes)
    legend(figure, axes, "Mean J&F by corrected frames")
    save(figure, folder, "corrections")
