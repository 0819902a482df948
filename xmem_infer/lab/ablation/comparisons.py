"""Compare runs: memory savings against both baselines, agreement of the masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...config import GradMode, Precision
from ...errors import VideoError
from ...scoring.pairing import read_ids
from ...scoring.score_video import rules_for, score_video
from ...scoring.scores import Rules
from .clip import Clip, merge_parts, with_objects
from .plan import Condition, Scene
from .runs import GRADIENTS_OFF, Run, grouped

DOCUMENTED_SAVING = 0.30
Agreement = tuple[float | None, float | None]  # share of pixels that differ from fp32's; J&F in [0, 1]


@dataclass(frozen=True)
class Saving:
    """Peak tensor memory without gradients under one condition, compared with a baseline that records them.

    at_least: the baseline was stopped at the memory ceiling, so the actual saving is larger.
    """

    scene: Scene
    precision: Precision
    baseline: GradMode
    off_bytes: int
    baseline_bytes: int
    network_bytes: int
    at_least: bool

    @property
    def with_network(self) -> float:
        """Share of the baseline's peak that is saved, network included."""
        return 1 - self.off_bytes / self.baseline_bytes

    @property
    def without_network(self) -> float:
        """Share that is saved without the network's own bytes, which no gradient mode reduces."""
        return 1 - (self.off_bytes - self.network_bytes) / (self.baseline_bytes - self.network_bytes)


def savings(runs: Sequence[Run]) -> list[Saving]:
    """Compare the largest peak of the modes without gradients with each baseline, per scene and precision."""
    result = []
    for condition, here in grouped(runs, lambda run: run.condition).items():
        off = [run.peak_tensor_bytes or 0 for run in here if run.mode in GRADIENTS_OFF and run.status == "ok"]
        for run in here:
            peak, known = run.peak_tensor_bytes, run.mode not in GRADIENTS_OFF and run.status != "failed"
            # A run that was stopped early with a peak below that of the runs without gradients proves nothing.
            if off and known and peak and (run.status == "ok" or peak > max(off)):
                at_least = run.status == "oom"
                result.append(Saving(*condition, run.mode, max(off), peak, run.network_bytes or 0, at_least))
    return result


def agreements(runs: Sequence[Run], clip: Clip) -> dict[Condition, Agreement]:
    """Compare the masks per scene and precision, which `sweep` keeps of one run each.

    A share is None without masks in fp32, J&F if not all frames are annotated.
    """
    masks = {run.condition: run.masks for run in runs if run.masks is not None}
    result = {}
    for (scene, precision), predicted in masks.items():
        reference = masks.get((scene, Precision.fp32))
        # The first frame is given, not predicted.
        differing = None if reference is None else float(np.mean(predicted[1:] != reference[1:]))
        result[scene, precision] = differing, _jf(predicted, scene, clip)
    return result


def _jf(masks: np.ndarray, scene: Scene, clip: Clip) -> float | None:
    """Return the J&F by the DAVIS rules, or None if not all frames are annotated."""
    if any(index not in clip.annotations for index in range(scene.frames)):
        return None
    _, owner = with_objects(clip.first, scene.objects)
    try:
        annotations = [read_ids(clip.annotations[index]) for index in range(scene.frames)]
        rules = rules_for(annotations[:1])
        if rules is not Rules.davis16:
            # Objects that were left out or appear later are not scored.
            annotations = [np.where(np.isin(a, list(owner.values())), a, 0) for a in annotations]
        return score_video(list(merge_parts(masks, owner)), annotations, rules, clip.name).measures.overall
    except VideoError:
        return None
