"""Score networks, and two baselines that need none, on clips with masks: same clips, same scorer, one table."""

import copy
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from torch import nn

from ...config import DataConfig, MemoryConfig, Precision, RuntimeConfig, require
from ...errors import UsageError
from ...interrupts import check
from ...io.atomic import write_whole
from ...predictor import Segmenter
from ...scoring.pairing import annotations_folder
from ...scoring.score_video import score_video
from ...scoring.scores import Measures, VideoScore, mean_measures
from ...weights.build import load_network
from ...weights.manifest import resolve_weights
from ..report import table

MIN_FRAMES = 3  # of a clip, because its first and its last frame are not scored
START, END = "<!-- scores: written by scripts/baselines.py -->", "<!-- end of scores -->"
COPIED, CARRIED = "first mask copied", "first mask carried by DIS flow"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """Pictures and masks of a clip, one of each per frame, in order."""

    name: str
    pictures: tuple[Path, ...]
    masks: tuple[Path, ...]

    def images(self) -> list[np.ndarray]:
        """Load the pictures: (H, W, 3) uint8 RGB each."""
        return [np.array(Image.open(path).convert("RGB")) for path in self.pictures]

    def labels(self) -> list[np.ndarray]:
        """Load the masks: (H, W) uint8 each, 0 = background."""
        return [np.array(Image.open(path)) for path in self.masks]


Track = Callable[[Clip], Sequence[np.ndarray]]  # returns the masks of all frames, given the first one


class Row(NamedTuple):
    """Scores of one method on one set of clips."""

    method: str
    videos: list[VideoScore]

    @property
    def measures(self) -> Measures:
        """Mean over objects, as in DAVIS."""
        return mean_measures([scored.measures for video in self.videos for scored in video.objects])


def check_frames(frames: int) -> None:
    """Raise UsageError if none of so many frames of a clip would be scored."""
    require(frames >= MIN_FRAMES, "frames", frames, f"at least {MIN_FRAMES}: the first and the last are not scored")


def find_clips(root: Path, names: list[str] | None = None, frames: int | None = None) -> list[Clip]:
    """Find clips by name (None: all) in a folder in DAVIS layout. frames: at most this many of each clip (None: all).

    Raises UsageError if there are none with at least MIN_FRAMES frames, or `frames` is less.
    """
    if frames is not None:
        check_frames(frames)
    masks = annotations_folder(root)
    pictures = Path(*("JPEGImages" if part == "Annotations" else part for part in masks.parts))
    clips = []
    for folder in sorted(path for path in masks.glob("*/") if names is None or path.name in names):
        by_stem = {path.stem: path for path in (pictures / folder.name).glob("*.*")}
        paths = [path for path in sorted(folder.glob("*.png")) if path.stem in by_stem][:frames]
        if len(paths) >= MIN_FRAMES:
            clips.append(Clip(folder.name, tuple(by_stem[path.stem] for path in paths), tuple(paths)))
    if not clips:
        raise UsageError(f"{root}: no clips {names or 'at all'} with pictures in JPEGImages/ and masks in Annotations/")
    return clips


def tracker(network: nn.Module, size: int, runtime: RuntimeConfig, memory: MemoryConfig) -> Track:
    """Return a function that segments a clip from its first mask with a copy of the network; size: short side in px."""
    segmenter = Segmenter(copy.deepcopy(network), memory, runtime, DataConfig(size=size))
    return lambda clip: [result.mask for result in segmenter.segment(clip.images(), clip.labels()[0])]


def carry_by_flow(images: Sequence[np.ndarray], first: np.ndarray) -> list[np.ndarray]:
    """Warp the first mask from frame to frame by OpenCV's DIS optical flow (medium preset), with nearest sampling."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    columns, rows = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in greys[0].shape[::-1]))
    carried = [first]
    for before, grey in pairwise(greys):
        # Backward flow: for each pixel of the new frame, the pixel of the old one that its label is taken from.
        backward = flow.calc(grey, before, np.zeros((*grey.shape, 2), np.float32))
        source = columns + backward[..., 0], rows + backward[..., 1]
        carried.append(cv2.remap(carried[-1], *source, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT))
    return carried


BASELINES: dict[str, Track] = {
    COPIED: lambda clip: [clip.labels()[0]] * len(clip.masks),
    CARRIED: lambda clip: carry_by_flow(clip.images(), clip.labels()[0]),
}


def methods(weights: str | None, sizes: Iterable[int], precisions: Iterable[Precision]) -> dict[str, Track]:
    """Return both baselines, and the network of `weights`, a path or a name, at each short side (px) and precision."""
    if weights is None:
        return BASELINES
    path = resolve_weights(weights)
    network = load_network(path).network
    return BASELINES | {
        f"{path.stem} {size}p {kind.value}": tracker(network, size, RuntimeConfig(precision=kind), MemoryConfig())
        for size, kind in product(sizes, precisions)
    }


def score(clip: Clip, track: Track) -> VideoScore:
    """Score a method on a clip with the project's own scorer."""
    return score_video(track(clip), clip.labels(), name=clip.name)


def compare(clips: list[Clip], tracks: dict[str, Track]) -> list[Row]:
    """Score every method on every clip; log a line after each method."""
    rows = []
    for name, track in tracks.items():
        row = Row(name, [])
        for clip in clips:
            check()
            row.videos.append(score(clip, track))
        log.info(f"{name}: J&F {row.measures.overall:.3f}")
        rows.append(row)
    return rows


def markdown(title: str, rows: list[Row]) -> str:
    """Return the scores as Markdown: J&F, J and F of the set, J&F of each clip, in percent.

    Below the table, name the clips on which a method is worse than both baselines.
    """
    clips = [video.name for video in rows[0].videos]
    objects = sum(len(video.objects) for video in rows[0].videos)
    cells = []
    for row in rows:
        figures = [
            *(row.measures[name] for name in ("J&F", "J", "F")),
            *(video.measures.overall for video in row.videos),
        ]
        cells.append([row.method, *(f"{100 * figure:.1f}" for figure in figures)])
    parts = [
        f"**{title}** ({len(clips)} clips, {objects} objects; mean over objects)",
        table(["method", "J&F", "J", "F", *clips], cells),
    ]
    for row in rows[2:]:
        scored = zip(row.videos, rows[0].videos, rows[1].videos, strict=True)
        if lost := [a.name for a, *b in scored if a.measures.overall < min(video.measures.overall for video in b)]:
            parts.append(f"{row.method} is below both baselines on: {', '.join(lost)}.")
    return "\n\n".join(parts)


def split_card(card: Path) -> tuple[str, str]:
    """Split a model card into the text before and after its scores. Raises UsageError if it has no place for them."""
    if not card.is_file():
        raise UsageError(f"there is no model card {card}")
    parts = re.split(f"{START}.*{END}", card.read_text(encoding="utf-8"), maxsplit=1, flags=re.DOTALL)
    if len(parts) == 1:
        raise UsageError(f"{card} has no lines {START!r} and {END!r} to put the scores between")
    return parts[0], parts[1]


def fill_card(card: Path, text: str) -> None:
    """Replace the scores between the two marks of the model card, atomically. Raises like `split_card`."""
    before, after = split_card(card)
    write_whole(card, lambda to: to.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8"))
