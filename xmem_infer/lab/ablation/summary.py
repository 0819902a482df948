"""From runs to findings: repeats joined, savings against both baselines, agreement of the masks."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeVar

import numpy as np

from ...config import GradMode, Precision
from ...errors import VideoError
from ...scoring.pairing import read_ids
from ...scoring.score_video import rules_for, score_video
from ...scoring.scores import Rules
from .clip import Clip, merged, with_objects
from .plan import GRADIENTS_OFF, Place, Scene
from .sweep import Run

DOCUMENTED_SAVING = 0.30
Key = TypeVar("Key", bound=Hashable)


def joined(runs: Sequence[Run]) -> list[Run]:
    """The repeats of each combination as one run, in the order in which combinations first come.

    status: ok, or the worst; frames_done: of the run that got least far; the largest peak in tensors; all times;
    medians of what else differs.
    """
    return [_joined(group) for group in _grouped(runs, lambda run: run.combination).values()]


def _joined(runs: list[Run]) -> Run:
    worst = min(runs, key=lambda run: ("failed", "oom", "ok").index(run.status))
    shown = max(runs, key=lambda run: len(run.held_bytes))
    return replace(
        shown,
        status=worst.status,
        reason=worst.reason,
        frames_done=min(run.frames_done for run in runs),
        peak_tensor_bytes=max((run.peak_tensor_bytes for run in runs if run.peak_tensor_bytes), default=None),
        peak_resident_bytes=_median(run.peak_resident_bytes for run in runs),
        cuda_reserved_bytes=_median(run.cuda_reserved_bytes for run in runs),
        read_seconds=_median(run.read_seconds for run in runs),
        build_seconds=_median(run.build_seconds for run in runs),
        times_ms=[time for run in runs for time in run.times_ms],
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value]
    return median(known) if known else None


def peak_spread(runs: Sequence[Run]) -> float:
    """How far the tensor peaks of one combination's repeats are apart at most: largest over smallest, less 1."""
    peaks = _grouped([run for run in runs if run.status == "ok"], lambda run: run.combination).values()
    found = [[run.peak_tensor_bytes for run in group if run.peak_tensor_bytes] for group in peaks]
    return max((max(group) / min(group) - 1 for group in found if group), default=0.0)


def by_place(runs: Sequence[Run]) -> dict[Place, list[Run]]:
    """Runs that differ in the gradient mode only."""
    return _grouped(runs, lambda run: run.place)


def _grouped(runs: Sequence[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    groups: dict[Key, list[Run]] = defaultdict(list)
    for run in runs:
        groups[key(run)].append(run)
    return groups


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


def savings(runs: Sequence[Run]) -> list[Saving]:
    """Per scene and precision, the largest peak of the modes without gradients against each baseline measured."""
    found = []
    for (scene, precision), here in by_place(runs).items():
        off = [run.peak_tensor_bytes or 0 for run in here if run.mode in GRADIENTS_OFF and run.status == "ok"]
        for run in here:
            peak, known = run.peak_tensor_bytes, run.mode not in GRADIENTS_OFF and run.status != "failed"
            # A run stopped early may have needed less so far than a whole one without gradients: that says nothing.
            if off and known and peak and (run.status == "ok" or peak > max(off)):
                network, stopped = run.network_bytes or 0, run.status == "oom"
                found.append(Saving(scene, precision, run.mode, max(off), peak, network, stopped))
    return found


@dataclass(frozen=True)
class Agreement:
    """Masks of one precision on one scene. differing: share of pixels unlike fp32's; jf: J&F in [0, 1]."""

    scene: Scene
    precision: Precision
    differing: float | None
    jf: float | None


def agreements(runs: Sequence[Run], clip: Clip) -> list[Agreement]:
    """Per scene and precision, from the first complete run without gradients (the modes agree to the bit)."""
    masks: dict[Place, np.ndarray] = {}
    for run in runs:
        if run.status == "ok" and run.masks is not None and run.place not in masks:
            with np.load(run.masks) as file:
                masks[run.place] = file["masks"]
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
