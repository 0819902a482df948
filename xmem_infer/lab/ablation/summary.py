"""From runs to findings: one line per combination, savings against both baselines, agreement of the masks."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from ...config import GradMode, Precision
from ...errors import VideoError
from ...scoring.pairing import read_ids
from ...scoring.score_video import rules_for, score_video
from ...scoring.scores import Rules
from .clip import Clip, merged, with_objects
from .plan import GRADIENTS_OFF, Cell, Scene
from .sweep import Row, percentile

DOCUMENTED_SAVING = 0.30


@dataclass
class Line:
    """All runs of one combination. peak_spread: largest over smallest tensor peak of the repeats, less 1.

    status: ok, or the worst of the runs; frames_done: of the run that got least far.
    """

    cell: Cell
    status: str
    reason: str
    frames_done: int
    peak_tensor_bytes: int | None
    peak_spread: float
    network_bytes: int | None
    peak_resident_bytes: float | None
    cuda_reserved_bytes: float | None
    p50_ms: float | None
    p95_ms: float | None
    load_ms: float | None
    hashes: frozenset[str]
    held_bytes: list[int]
    frame_peak_bytes: list[int]


def lines_of(rows: Sequence[Row]) -> list[Line]:
    """Runs joined by combination, in the order in which these first come."""
    groups: dict[Cell, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.cell].append(row)
    return [_line(cell, group) for cell, group in groups.items()]


def _line(cell: Cell, rows: list[Row]) -> Line:
    worst = min(rows, key=lambda row: ("failed", "oom", "ok").index(row.status))
    peaks = [row.peak_tensor_bytes for row in rows if row.peak_tensor_bytes is not None]
    times = [time for row in rows for time in row.times_ms]
    shown = max(rows, key=lambda row: len(row.held_bytes))
    loads = [1000 * (row.read_seconds + row.build_seconds) for row in rows if row.read_seconds and row.build_seconds]
    return Line(
        cell,
        worst.status,
        worst.reason,
        min(row.frames_done for row in rows),
        max(peaks, default=None),
        max(peaks) / min(peaks) - 1 if peaks else 0.0,
        shown.network_bytes,
        _median(row.peak_resident_bytes for row in rows),
        _median(row.cuda_reserved_bytes for row in rows),
        percentile(times, 50),
        percentile(times, 95),
        median(loads) if loads else None,
        frozenset(row.masks_sha256 for row in rows if row.masks_sha256 and row.status == "ok"),
        shown.held_bytes,
        shown.frame_peak_bytes,
    )


def _median(values: Any) -> float | None:
    known = [value for value in values if value]
    return median(known) if known else None


@dataclass(frozen=True)
class Saving:
    """What switching gradients off saves of the peak in tensors, at one place, as shares of the baseline's.

    at_least: the baseline was stopped at the memory ceiling, so that the saving is larger.
    """

    scene: Scene
    precision: Precision
    baseline: GradMode
    off_bytes: int
    baseline_bytes: int
    network_bytes: int
    at_least: bool

    @property
    def whole(self) -> float:
        """With the network's own bytes on both sides: what a user sees."""
        return 1 - self.off_bytes / self.baseline_bytes

    @property
    def working(self) -> float:
        """Without the network, which no gradient mode makes smaller."""
        return 1 - (self.off_bytes - self.network_bytes) / (self.baseline_bytes - self.network_bytes)


def savings(lines: Sequence[Line]) -> list[Saving]:
    """Per scene and precision, the largest peak of the modes without gradients against each baseline measured."""
    found = []
    for (scene, precision), here in by_place(lines).items():
        off = [
            line.peak_tensor_bytes or 0 for line in here if line.cell.grad_mode in GRADIENTS_OFF and line.status == "ok"
        ]
        for line in here:
            peak, known = line.peak_tensor_bytes, line.cell.grad_mode not in GRADIENTS_OFF and line.status != "failed"
            # A run stopped early may have needed less so far than a whole one without gradients: that says nothing.
            if off and known and peak and (line.status == "ok" or peak > max(off)):
                network = line.network_bytes or 0
                stopped = line.status == "oom"
                found.append(Saving(scene, precision, line.cell.grad_mode, max(off), peak, network, stopped))
    return found


def by_place(lines: Sequence[Line]) -> dict[tuple[Scene, Precision], list[Line]]:
    """Lines that differ in the gradient mode only."""
    places: dict[tuple[Scene, Precision], list[Line]] = defaultdict(list)
    for line in lines:
        places[line.cell.scene, line.cell.precision].append(line)
    return places


@dataclass(frozen=True)
class Agreement:
    """Masks of one precision on one scene. differing: share of pixels unlike fp32's; jf: J&F in [0, 1]."""

    scene: Scene
    precision: Precision
    differing: float | None
    jf: float | None


def agreements(rows: Sequence[Row], clip: Clip) -> list[Agreement]:
    """Per scene and precision, from the first complete run without gradients (the modes agree to the bit)."""
    masks: dict[tuple[Scene, Precision], np.ndarray] = {}
    for row in rows:
        place = row.cell.scene, row.cell.precision
        if row.status == "ok" and row.masks is not None and place not in masks:
            with np.load(row.masks) as file:
                masks[place] = file["masks"]
    found = []
    for (scene, precision), mine in masks.items():
        reference = masks.get((scene, Precision.fp32))
        # The first frame is given, not predicted.
        differing = None if reference is None else float(np.mean(mine[1:] != reference[1:]))
        found.append(Agreement(scene, precision, differing, _jf(mine, scene, clip)))
    return found


def _jf(masks: np.ndarray, scene: Scene, clip: Clip) -> float | None:
    """J&F by the DAVIS rules; None where the scored frames are not annotated."""
    if any(index not in clip.annotations for index in range(scene.frames)):
        return None
    _, owner = with_objects(clip.first, scene.objects)
    annotations = [read_ids(clip.annotations[index]) for index in range(scene.frames)]
    rules = rules_for(annotations[:1])
    if rules is not Rules.davis16:
        # Objects left out, and those that come later, are not asked for.
        annotations = [np.where(np.isin(a, list(set(owner.values()))), a, 0) for a in annotations]
    try:
        return score_video(list(merged(masks, owner)), annotations, rules, clip.name).measures.overall
    except VideoError:
        return None
