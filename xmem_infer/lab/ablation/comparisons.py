"""From runs to findings: savings against both baselines, agreement of the masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...config import GradMode, Precision
from ...errors import VideoError
from ...scoring.pairing import read_ids
from ...scoring.score_video import rules_for, score_video
from ...scoring.scores import Rules
from .clip import Clip, merged, with_objects
from .plan import Place, Scene
from .runs import GRADIENTS_OFF, Run, grouped

DOCUMENTED_SAVING = 0.30


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
    for place, here in grouped(runs, lambda run: run.place).items():
        off = [run.peak_tensor_bytes or 0 for run in here if run.mode in GRADIENTS_OFF and run.status == "ok"]
        for run in here:
            peak, known = run.peak_tensor_bytes, run.mode not in GRADIENTS_OFF and run.status != "failed"
            # A run stopped early may have needed less so far than a whole one without gradients: that says nothing.
            if off and known and peak and (run.status == "ok" or peak > max(off)):
                found.append(Saving(*place, run.mode, max(off), peak, run.network_bytes or 0, run.status == "oom"))
    return found


@dataclass(frozen=True)
class Agreement:
    """Masks of one precision on one scene. differing: share of pixels unlike fp32's; jf: J&F in [0, 1]."""

    scene: Scene
    precision: Precision
    differing: float | None
    jf: float | None


def agreements(runs: Sequence[Run], clip: Clip) -> list[Agreement]:
    """Per scene and precision, from the first complete run (the modes agree to the bit)."""
    masks: dict[Place, np.ndarray] = {}
    for run in runs:
        if run.status == "ok" and run.masks is not None:
            masks.setdefault(run.place, run.masks)
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
    try:
        annotations = [read_ids(clip.annotations[index], clip.size) for index in range(scene.frames)]
        rules = rules_for(annotations[:1])
        if rules is not Rules.davis16:
            # Objects left out, and those that come later, are not asked for.
            annotations = [np.where(np.isin(a, list(owner.values())), a, 0) for a in annotations]
        return score_video(list(merged(masks, owner)), annotations, rules, clip.name).measures.overall
    except VideoError:
        return None
