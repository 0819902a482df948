"""A simulated annotator: true masks on a few frames, chosen in several ways, and what they do to the rest."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image

from ..config import Direction
from ..interactive.suggestion import next_to_fix
from ..interrupts import check
from ..io.array_frames import ArrayFrames
from ..predictor import Segmenter
from ..propagation.propagate import propagate
from ..scoring.score_video import score_video
from ..types import LabelMask, ObjectConfidence
from .charts import legend, new_figure, plain, save
from .first_mask import GOOD_IOU, MOST_CLICKS, WAYS, clicks_needed, iou_by_clicks, objects_of
from .report import number, output_folder, setting, setting_table, table, write_page
from .training.validation import Clip

log = logging.getLogger(__name__)

HOW = (
    "First table: J&F over the frames between the first and the last, in percent, after the true mask of the first "
    "frame and of further ones. After each, the frames between its neighbouring references are tracked again, from "
    "both sides. Second table: masks of the objects in the first frames, from a box or nothing, then by clicks where "
    "most is wrong. In examples/annotator the rule of the suggestion and the walker's constants were chosen on these "
    "very clips: on others expect less."
)
CORRECTIONS = (0, 1, 2, 3, 5)  # after which the masks are scored
SUGGESTED, RANDOM, WORST = "suggested", "at random", "truly worst"


@dataclass
class Sample:
    """A clip as it is measured: (H, W, 3) uint8 pictures and (H, W) uint8 true masks."""

    name: str
    images: list[np.ndarray]
    labels: list[np.ndarray]


@dataclass
class Tracked:
    """Masks and confidences of every frame, and the mean J&F of the objects on frames 1 to the last but one."""

    masks: dict[int, np.ndarray]
    confidence: dict[int, Mapping[int, ObjectConfidence]]
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))


Choose = Callable[[Tracked, Sequence[int]], int]


def sample(clip: Clip, size: int, frames: int) -> Sample:
    """At most `frames` frames of a clip, evenly spread, made smaller to `size` px of the short side."""
    step = max(1, len(clip.pictures) // frames)
    images, labels = [], []
    for picture, mask in list(zip(clip.pictures, clip.masks, strict=True))[::step][:frames]:
        image, label = Image.open(picture).convert("RGB"), Image.open(mask)
        scale = min(1.0, size / min(image.size))
        wanted = (round(image.width * scale), round(image.height * scale))
        images.append(np.array(image.resize(wanted, Image.Resampling.BOX)))
        labels.append(np.array(label.resize(wanted, Image.Resampling.NEAREST)))
    return Sample(clip.name, images, labels)


class Annotator:
    """Corrects one clip. What a set of references leads to is computed once."""

    def __init__(self, segmenter: Segmenter, clip: Sample, seeds: int) -> None:
        self.segmenter, self.clip, self.seeds = segmenter, clip, seeds
        self.frames = ArrayFrames(clip.images, clip.name)
        self.object_ids = sorted(set(np.unique(np.stack(clip.labels)).tolist()) - {0})
        self.known: dict[tuple[int, ...], Tracked] = {}

    def curves(self) -> dict[str, list[float]]:
        """Mean J&F in percent after each of CORRECTIONS, by the way in which frames are chosen."""
        chance = [self._curve(self._random(seed)) for seed in range(self.seeds)]
        return {
            SUGGESTED: self._curve(_suggested),
            RANDOM: [fmean(values) for values in zip(*chance, strict=True)],
            WORST: self._curve(lambda tracked, free: min(free, key=lambda index: tracked.scores[index - 1])),
        }

    def _random(self, seed: int) -> Choose:
        rng = np.random.default_rng(seed)
        return lambda tracked, free: int(rng.choice(free))

    def _curve(self, choose: Choose) -> list[float]:
        references: tuple[int, ...] = (0,)
        tracked = self._track(references, None)
        reached = {0: tracked}
        for done in range(1, max(CORRECTIONS) + 1):
            free = [index for index in range(1, len(self.clip.images) - 1) if index not in references]
            if free:
                references = (*references, choose(tracked, free))
                tracked = self._track(references, tracked)
            reached[done] = tracked
        return [100 * float(np.nanmean(reached[done].scores)) for done in CORRECTIONS]

    def _track(self, references: tuple[int, ...], before: Tracked | None) -> Tracked:
        """All frames from the first reference, or those between the newest one's neighbours again, the rest as before.

        Which frames are tracked again depends on the order of the references.
        """
        if references in self.known:
            return self.known[references]
        tracked = Tracked({}, {}) if before is None else Tracked(dict(before.masks), dict(before.confidence))
        newest, last = references[-1], len(self.clip.images) - 1
        first = max((index for index in references if index < newest), default=0)
        last = min((index for index in references if index > newest), default=last)
        given = {index: LabelMask(self.clip.labels[index]) for index in references}
        shown = {one: [i for i, mask in given.items() if one in mask.object_ids()] for one in self.object_ids}
        absent = {one: [(i, i) for i in given if i not in seen] for one, seen in shown.items() if seen}
        results = propagate(
            self.segmenter, self.frames, given, direction=Direction.both, first=first, last=last, absent=absent
        )
        for result in results:
            check()
            tracked.masks[result.frame.index] = result.mask
            tracked.confidence[result.frame.index] = result.confidence
        masks = [tracked.masks[index] for index in range(len(self.clip.images))]
        tracked.scores = score_video(masks, self.clip.labels, name=self.clip.name).frame_overall()
        self.known[references] = tracked
        return tracked


def _suggested(tracked: Tracked, free: Sequence[int]) -> int:
    """The first or last frame is not scored, so that to correct it is not of use here."""
    last = max(tracked.confidence)
    candidates = {index: seen for index, seen in tracked.confidence.items() if index < last}
    found = next_to_fix(candidates, [index for index in candidates if index not in free])
    assert found is not None, "there are free frames"
    return found.index


Gained = Mapping[str, Mapping[str, Sequence[float]]]  # J&F after CORRECTIONS, by clip and way to choose
Marked = Mapping[tuple[str, bool], Sequence[Sequence[float]]]  # IoU by clicks of each object, by way and whether boxed


def measure(segmenter: Segmenter, clips: Sequence[Clip], size: int, frames: int, seeds: int, folder: Path) -> str:
    """Both tables as Markdown, also written to report.md, with a picture. Raises EnvironmentFault."""
    output_folder(folder)
    gained, marked = {}, {(way, box): list[list[float]]() for way in WAYS for box in (True, False)}
    for clip in clips:
        gained[clip.name] = Annotator(segmenter, sample(clip, size, frames), seeds).curves()
        for key, curves in mark(clip).items():
            marked[key] += curves
        log.info(f"{clip.name}: done")
    asked = f"at {size} px of the short side, at most {frames} frames of each clip; at random: mean of {seeds}"
    return report(segmenter, gained, marked, asked, folder)


def mark(clip: Clip) -> dict[tuple[str, bool], list[list[float]]]:
    """The first mask of each object by box and clicks: IoU by clicks, by way and whether it begins with a box."""
    image, labels = np.array(Image.open(clip.pictures[0]).convert("RGB")), np.array(Image.open(clip.masks[0]))
    objects = objects_of(labels)
    return {
        (name, box): [iou_by_clicks(way, image, true, box=box) for true in objects]
        for name, way in WAYS.items()
        for box in (True, False)
    }


def report(segmenter: Segmenter, gained: Gained, marked: Marked, asked: str, folder: Path) -> str:
    """Write report.md and its picture; returns the tables. asked: how the corrections were measured, in words."""
    subject = {"clips": ", ".join(gained), "corrections": asked, "first masks": "pictures at their own size"}
    where = setting(segmenter.prepared.device, subject)
    text = "\n\n".join((_corrections_table(gained), _clicks_table(marked)))
    write_page(folder / "report.md", ("# A simulated annotator", HOW, text, setting_table(where)))
    _draw(gained, folder)
    return text


def _corrections_table(gained: Gained) -> str:
    head = ("clip", "frame chosen", *(f"{done} corrected" for done in CORRECTIONS))
    rows = [(name, way, *map(number, curve)) for name, curves in gained.items() for way, curve in curves.items()]
    rows += [("**mean**", way, *map(number, _mean(gained, way))) for way in (SUGGESTED, RANDOM, WORST)]
    return table(head, rows)


def _mean(gained: Gained, way: str) -> list[float]:
    return [fmean(values) for values in zip(*(curves[way] for curves in gained.values()), strict=True)]


def _clicks_table(marked: Marked) -> str:
    after = (0, 1, 2, 3, 5)
    good = f"clicks to {GOOD_IOU:.0%} IoU"
    head = ("way", "begun with", good, f"not in {MOST_CLICKS}", *(f"IoU after {n}" for n in after))
    rows = []
    for (way, box), curves in marked.items():
        needed, missed = clicks_needed(curves)
        reached = [f"{100 * fmean(curve[min(n, len(curve) - 1)] for curve in curves):.1f}" for n in after]
        rows.append((way, "a box" if box else "a click", f"{needed:.1f}", f"{missed} of {len(curves)}", *reached))
    return table(head, rows)


def _draw(gained: Gained, folder: Path) -> None:
    figure = new_figure(4.6, 3.2)
    axes = figure.subplots()
    for way, colour in ((WORST, "#888888"), (SUGGESTED, "#d62728"), (RANDOM, "#1f77b4")):
        axes.plot(CORRECTIONS, _mean(gained, way), "o-", label=way, color=colour)
    axes.set_xlabel("corrected frames", fontsize=8)
    axes.set_xticks(CORRECTIONS)
    plain(axes)
    legend(figure, axes, "Mean J&F by corrected frames")
    save(figure, folder, "corrections")
