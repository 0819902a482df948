"""Data classes for the scores of a frame, an object, a video and a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

from .metrics import decay, recall
from .pairing import VideoPair


class Rules(Enum):
    """How mask values are interpreted."""

    auto = "auto"  # davis16 if the first masks of all videos contain only 0 and 255, else davis17
    davis16 = "davis16"  # all values other than 0 are one object
    davis17 = "davis17"  # each id is an object, and 255 is void (not scored)


class Measures(dict[str, float]):
    """Scores by their published names, as fractions of 1: J&F, J, F, J_recall, J_decay, F_recall, F_decay.

    Other metrics are named and ordered in the same way; J&F is added if both J and F are given.
    """

    def __init__(self, figures: Mapping[str, float]):
        both = {"J&F": (figures["J"] + figures["F"]) / 2} if {"J", "F"} <= figures.keys() else {}
        super().__init__({**both, **figures})

    @property
    def overall(self) -> float:
        """J&F if present, else the first metric."""
        return next(iter(self.values()))


@dataclass(frozen=True)
class FrameScore:
    """The scores of one annotated frame."""

    annotated: tuple[int, ...] = ()  # ids in the annotation
    predicted: tuple[int, ...] = ()  # ids in the prediction
    values: Mapping[int, tuple[float, ...]] = field(default_factory=dict)  # metrics by object id
    has_void: bool = False  # whether pixels were excluded as void
    problem: str | None = None  # why the frame could not be scored; None if it was


@dataclass(frozen=True)
class ObjectScore:
    """The scores of one object in a video."""

    object_id: int
    start: int  # index of the first scored frame in which the object counts
    values: Mapping[str, np.ndarray]  # values of each metric, (frames from `start` on,) float64
    measures: Measures  # mean, recall and decay of the metrics over these frames

    @property
    def overall(self) -> np.ndarray:
        """J&F of each frame, or else the first metric; (frames from `start` on,) float64."""
        if "J&F" in self.measures:
            return np.asarray((self.values["J"] + self.values["F"]) / 2)
        return next(iter(self.values.values()))


@dataclass(frozen=True)
class VideoScore:
    """The scores of one video."""

    name: str
    frames: tuple[str, ...]  # names of the scored frames
    objects: tuple[ObjectScore, ...]
    measures: Measures  # mean over the objects
    unscored: tuple[int, ...] = ()  # ids annotated in the last frame only, which is not scored
    has_void: bool = False  # whether pixels were excluded as void

    def frame_overall(self) -> np.ndarray:
        """Return the mean overall score of the objects that count in each frame, (frames,) float64; NaN for none."""
        total, counted = np.zeros(len(self.frames)), np.zeros(len(self.frames))
        for scored in self.objects:
            total[scored.start :] += scored.overall
            counted[scored.start :] += 1
        return np.divide(total, counted, out=np.full_like(total, np.nan), where=counted > 0)

    def worst_frames(self, number: int) -> list[tuple[str, float]]:
        """Return the names and overall scores of at most `number` frames, worst first.

        Frames close to a chosen frame are skipped, so that the frames are spread over the video.
        """
        values = self.frame_overall()
        min_distance = max(1, len(values) // (number + 1))  # frames
        chosen: list[int] = []
        for i in np.argsort(values, kind="stable").tolist():
            if len(chosen) < number and not np.isnan(values[i]) and all(abs(i - j) >= min_distance for j in chosen):
                chosen.append(i)
        return [(self.frames[i], float(values[i])) for i in chosen]


@dataclass(frozen=True)
class SetScores:
    """The scores of a set of videos."""

    rules: Rules  # the rules that were applied
    predictions: Path  # folder of predicted masks
    annotations: Path
    videos: tuple[VideoScore, ...]  # those that could be scored
    problems: Mapping[str, str]  # why other videos could not be scored, by name
    pairs: Mapping[str, VideoPair]  # the compared files, by video name
    metrics: tuple[str, ...] = ("J", "F")

    @property
    def measures(self) -> Measures | None:
        """Mean over all objects of the set; None unless every video was scored."""
        return None if self.problems else self.measures_of_scored

    @property
    def measures_of_scored(self) -> Measures | None:
        """Mean over the objects of the videos that could be scored; None if there are none."""
        objects = [scored.measures for video in self.videos for scored in video.objects]
        return mean_measures(objects) if objects else None


def figure_names(metrics: Sequence[str]) -> list[str]:
    """Return the names of the scores shown for these metrics, in the order of reports."""
    both = ["J&F"] if {"J", "F"} <= set(metrics) else []
    return [*both, *metrics, *(f"{metric}_{part}" for metric in metrics for part in ("recall", "decay"))]


def measure_object(values: Mapping[str, np.ndarray]) -> Measures:
    """Compute the scores of one object from the values of each metric in its frames, (N,) float64, N >= 1."""
    figures = {metric: float(np.mean(by_frame)) for metric, by_frame in values.items()}
    for metric, by_frame in values.items():
        figures |= {f"{metric}_recall": recall(by_frame), f"{metric}_decay": decay(by_frame)}
    return Measures(figures)


def mean_measures(measures: Sequence[Measures]) -> Measures:
    """Return the mean of every score; J&F is the mean of mean J and mean F."""
    names = [name for name in measures[0] if name != "J&F"]
    return Measures({name: float(np.mean([item[name] for item in measures])) for name in names})
