"""Scores as values: of a frame, an object, a video and a set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

from .metrics import decay, recall
from .pairing import VideoPair


class Rules(Enum):
    """davis16: whatever is not 0 is the one object. davis17: ids are objects, 255 is void.

    auto: davis16 where the first masks of all videos hold only 0 and 255, else davis17.
    """

    auto = "auto"
    davis16 = "davis16"
    davis17 = "davis17"


class Measures(dict[str, float]):
    """Figures by published name, as fractions of 1: J&F, J, F, J_recall, J_decay, F_recall, F_decay.

    For other metrics the same names in their order; J&F where J and F are among them.
    """

    @property
    def overall(self) -> float:
        """J&F, or the first metric."""
        return next(iter(self.values()))


@dataclass(frozen=True)
class FrameScore:
    """One annotated frame: the ids in both masks; the metrics by object; problem: why it could not be scored."""

    annotated: tuple[int, ...] = ()
    predicted: tuple[int, ...] = ()
    values: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    has_void: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class ObjectScore:
    """One object of a video.

    object_id: its value in the masks. start: index of the first frame that counts. values: by metric, (frames from
    `start` on,) float64. measures: the figures of these frames.
    """

    object_id: int
    start: int
    values: Mapping[str, np.ndarray]
    measures: Measures

    @property
    def overall(self) -> np.ndarray:
        """(frames,) float64: the mean of J and F, or the first metric."""
        if "J&F" in self.measures:
            return np.asarray((self.values["J"] + self.values["F"]) / 2)
        return next(iter(self.values.values()))


@dataclass(frozen=True)
class VideoScore:
    """One video: names of the scored frames, the objects and the mean over them.

    unscored: ids annotated on the last frame only, which is not scored. has_void: whether pixels were left out.
    """

    name: str
    frames: tuple[str, ...]
    objects: tuple[ObjectScore, ...]
    measures: Measures
    unscored: tuple[int, ...] = ()
    has_void: bool = False

    def frame_overall(self) -> np.ndarray:
        """(frames,) float64: mean J&F of the objects counted there, NaN where none is."""
        total, counted = np.zeros(len(self.frames)), np.zeros(len(self.frames))
        for scored in self.objects:
            total[scored.start :] += scored.overall
            counted[scored.start :] += 1
        return np.divide(total, counted, out=np.full_like(total, np.nan), where=counted > 0)

    def worst_frames(self, number: int) -> list[tuple[str, float]]:
        """At most `number` frames and their J&F, the worst first; of neighbours only the worst, so that they spread."""
        values = self.frame_overall()
        apart = max(1, len(values) // (number + 1))  # frames
        chosen: list[int] = []
        for i in np.argsort(values, kind="stable").tolist():
            if len(chosen) < number and not np.isnan(values[i]) and all(abs(i - j) >= apart for j in chosen):
                chosen.append(i)
        return [(self.frames[i], float(values[i])) for i in chosen]


@dataclass(frozen=True)
class SetScores:
    """A scored set: the rules applied, both folders of masks, the videos that could be scored.

    problems: by video, why it has no score. pairs: the compared files by video. metrics: their names.
    """

    rules: Rules
    predictions: Path
    annotations: Path
    videos: tuple[VideoScore, ...]
    problems: Mapping[str, str]
    pairs: Mapping[str, VideoPair]
    metrics: tuple[str, ...] = ("J", "F")

    @property
    def measures(self) -> Measures | None:
        """The set's figures; None unless every video was scored."""
        return None if self.problems else self.measures_of_scored

    @property
    def measures_of_scored(self) -> Measures | None:
        """Mean over the objects of the videos that could be scored; None where there are none."""
        objects = [scored.measures for video in self.videos for scored in video.objects]
        return mean_measures(objects) if objects else None


def figure_names(metrics: Sequence[str]) -> list[str]:
    """The figures that reports show for these metrics, in their order."""
    both = ["J&F"] if {"J", "F"} <= set(metrics) else []
    return [*both, *metrics, *(f"{metric}_{part}" for metric in metrics for part in ("recall", "decay"))]


def measure_object(values: Mapping[str, np.ndarray]) -> Measures:
    """Figures of one object from its frames; values by metric, (N,) float64, N >= 1."""
    figures = {metric: float(np.mean(of_frames)) for metric, of_frames in values.items()}
    for metric, of_frames in values.items():
        figures |= {f"{metric}_recall": recall(of_frames), f"{metric}_decay": decay(of_frames)}
    return _with_overall(figures)


def mean_measures(measures: Sequence[Measures]) -> Measures:
    """Mean of every figure in the order given; J&F is the mean of the mean J and the mean F."""
    names = [name for name in measures[0] if name != "J&F"]
    return _with_overall({name: float(np.mean([one[name] for one in measures])) for name in names})


def _with_overall(figures: dict[str, float]) -> Measures:
    if "J" not in figures or "F" not in figures:
        return Measures(figures)
    return Measures({"J&F": (figures["J"] + figures["F"]) / 2} | figures)
