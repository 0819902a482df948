"""Scores as values: of a frame, an object, a video and a set."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

from .metrics import Pair, decay, recall
from .pairing import VideoPair

FIGURES = ("J&F", "J", "F", "J_recall", "J_decay", "F_recall", "F_decay")  # names in files, order of Measures


class Rules(Enum):
    """davis16: whatever is not 0 is the one object. davis17: labels are objects, 255 is void.

    auto: davis16 where the first masks of all videos hold only 0 and 255, else davis17.
    """

    auto = "auto"
    davis16 = "davis16"
    davis17 = "davis17"


@dataclass(frozen=True)
class Measures:
    """The seven published figures as fractions of 1."""

    jf: float
    j: float
    f: float
    j_recall: float
    j_decay: float
    f_recall: float
    f_decay: float

    def figures(self) -> dict[str, float]:
        """By published name, see FIGURES."""
        return dict(zip(FIGURES, astuple(self), strict=True))


@dataclass(frozen=True)
class FrameScore:
    """One annotated frame: the labels in both files, J and F by object shown in either; problem: why not."""

    annotated: tuple[int, ...] = ()
    predicted: tuple[int, ...] = ()
    pairs: Mapping[int, Pair] = field(default_factory=dict)
    has_void: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class ObjectScore:
    """One object; j, f: (frames from its first counted one on,) float64; start: index of that frame."""

    label: int
    start: int
    j: np.ndarray
    f: np.ndarray
    measures: Measures


@dataclass(frozen=True)
class VideoScore:
    """One video: names of the scored frames, its objects, the mean over them.

    unscored: labels annotated on the last frame only, which is not scored. has_void: pixels were left out.
    """

    name: str
    frames: tuple[str, ...]
    objects: tuple[ObjectScore, ...]
    measures: Measures
    unscored: tuple[int, ...] = ()
    has_void: bool = False

    def frame_jf(self) -> np.ndarray:
        """(frames,) float64: mean J&F of the objects counted there, NaN where none is."""
        total, counted = np.zeros(len(self.frames)), np.zeros(len(self.frames))
        for scored in self.objects:
            total[scored.start :] += (scored.j + scored.f) / 2
            counted[scored.start :] += 1
        return np.divide(total, counted, out=np.full_like(total, np.nan), where=counted > 0)

    def worst_frames(self, number: int) -> list[tuple[str, float]]:
        """Up to `number` frames and their J&F, the worst first."""
        values = self.frame_jf()
        order = [i for i in np.argsort(values, kind="stable") if not np.isnan(values[i])]
        return [(self.frames[i], float(values[i])) for i in order[:number]]


@dataclass(frozen=True)
class SetScores:
    """A scored set. problems: by video, why it has no score. pairs: the compared files by video."""

    rules: Rules
    predictions: Path
    annotations: Path
    videos: tuple[VideoScore, ...]
    problems: Mapping[str, str]
    pairs: Mapping[str, VideoPair]

    @property
    def measures(self) -> Measures | None:
        """The set's figures; None unless every video was scored."""
        return None if self.problems else self.measures_of_scored

    @property
    def measures_of_scored(self) -> Measures | None:
        """Mean over the objects of the videos that could be scored; None where there are none."""
        objects = [scored.measures for video in self.videos for scored in video.objects]
        return mean_measures(objects) if objects else None


def measure_object(j: np.ndarray, f: np.ndarray) -> Measures:
    """Figures of one object from its frames; j, f (N,) float64, N >= 1."""
    mean_j, mean_f = float(np.mean(j)), float(np.mean(f))
    return Measures((mean_j + mean_f) / 2, mean_j, mean_f, recall(j), decay(j), recall(f), decay(f))


def mean_measures(measures: Sequence[Measures]) -> Measures:
    """Mean of every figure in the order given; J&F is the mean of the mean J and the mean F."""
    j, f, *rest = (float(np.mean([astuple(one)[i] for one in measures])) for i in range(1, 7))
    return Measures((j + f) / 2, j, f, *rest)
