"""Which frame to correct next: where a correction mends most, of the frame itself and of those around it.

`python scripts/annotator.py` tells what that is worth. The rule was picked from about a hundred, and its two numbers
were set, by what they gained on the ten clips of `examples/annotator`.
"""

from bisect import bisect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

import numpy as np

from ..engine.drift import APPEARANCE, AREA, JUMPED, LOST
from ..types import ObjectConfidence

LOST_BADNESS = 0.2  # of an object without a pixel, which may be hidden
NEARLY_BEST = 0.9  # of the largest gain: between frames of so much gain, the one that looks worst itself is shown
WORDS = {LOST: "is lost", JUMPED: "jumped", AREA: "changed its size", APPEARANCE: "looks unlike its references"}


@dataclass(frozen=True)
class Suggestion:
    """A frame to correct.

    Attributes:
        index: Of the frame.
        reason: In words.
        gain: How much its correction is likely to mend, from 0; of use in comparison only.
    """

    index: int
    reason: str
    gain: float


def next_to_fix(
    confidence: Mapping[int, Mapping[int, ObjectConfidence]], references: Collection[int]
) -> Suggestion | None:
    """The first of `ranking`; None where no frame is left."""
    return next(iter(ranking(confidence, references)), None)


def ranking(confidence: Mapping[int, Mapping[int, ObjectConfidence]], references: Collection[int]) -> list[Suggestion]:
    """Frames with objects that are no reference, the one to correct first at the front.

    A correction mends the frames around it, the less the farther they are; one that is as far from it as from the
    reference next to it is not helped. Of the frames whose correction gains nearly as much as any, the worst comes
    first; the others follow by their gain.

    Args:
        confidence: By the frame's index, then by object id.
        references: Indices of the frames whose masks people have made or approved.
    """
    badness = {
        index: fmean(map(badness_of, objects.values()))
        for index, objects in confidence.items()
        if objects and index not in references
    }
    gains = _gains(badness, sorted(references))
    found = []
    for index in badness:
        objects = confidence[index]
        worst = max(objects, key=lambda object_id: badness_of(objects[object_id]))
        found.append(Suggestion(index, f"object {worst} {_why(objects[worst])}", gains[index]))
    near = NEARLY_BEST * max(gains.values(), default=0.0)
    return sorted(found, key=lambda one: (-badness[one.index] if one.gain >= near else 0, -one.gain, one.index))


def badness_of(seen: ObjectConfidence) -> float:
    """How bad an object's mask is likely to be, from 0: uncertain, and unlike its references."""
    return LOST_BADNESS if seen.lost else sqrt(max(0.0, 1 - seen.mean_probability) * seen.key_distance)


def _gains(badness: Mapping[int, float], references: list[int]) -> dict[int, float]:
    """For each frame i: the sum over frames t of badness * max(0, 1 - |t - i| / (from t to the nearest reference)).

    Each term is a triangle over i, whose second differences are three numbers: their sums take a time linear in frames.
    """
    if not badness:
        return {}
    first, count = min(badness), max(badness) - min(badness) + 1
    bends = np.zeros(3 * count + 1)  # of the sum, from index first - count on: triangles are at most 2 * count wide
    for index, height in badness.items():
        at = bisect(references, index)
        reach = min([count, *(abs(index - one) for one in references[max(0, at - 1) : at + 1])])
        middle = index - first + count
        bends[[middle - reach, middle + reach]] += height / reach
        bends[middle] -= 2 * height / reach
    sums = np.cumsum(np.cumsum(bends))
    return {index: round(float(sums[index - first + count - 1]), 9) for index in badness}


def _why(seen: ObjectConfidence) -> str:
    signs = (LOST,) if seen.lost else seen.drift
    words = [WORDS[sign] for sign in signs if sign in WORDS]
    return " and ".join(words) or f"is segmented with a confidence of {100 * seen.mean_probability:.0f} %"
