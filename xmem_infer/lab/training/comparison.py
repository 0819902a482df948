"""Compare the embedded model with two baselines that need no network: same clips, same scorer, one table."""

import logging
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ...config import MemoryConfig, Precision, RuntimeConfig
from ...errors import UsageError
from ...interrupts import check
from ...io.atomic import write_whole
from ...scoring.scores import Measures, VideoScore, mean_measures
from ...weights.build import load_network
from ...weights.manifest import resolve_weights
from ..report import table
from .validation import Clip, Track, score, tracker

START, END = "<!-- scores: written by scripts/baselines.py -->", "<!-- end of scores -->"
COPIED, CARRIED = "first mask copied", "first mask carried by DIS flow"
log = logging.getLogger(__name__)


class Row(NamedTuple):
    """Scores of one method on one set of clips."""

    method: str
    videos: list[VideoScore]

    @property
    def measures(self) -> Measures:
        """Mean over objects, as in DAVIS."""
        return mean_measures([scored.measures for video in self.videos for scored in video.objects])


def copy_first(clip: Clip) -> list[np.ndarray]:
    """Return the first mask for every frame."""
    return [clip.labels()[0]] * len(clip.masks)


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


BASELINES: dict[str, Track] = {COPIED: copy_first, CARRIED: lambda clip: carry_by_flow(clip.images(), clip.labels()[0])}


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
        of_clips = [video.measures.overall for video in row.videos]
        figures = [*(row.measures[name] for name in ("J&F", "J", "F")), *of_clips]
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
