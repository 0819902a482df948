"""Which frame to correct next: the one whose correction improves itself and its neighbours most.

`python scripts/annotator.py` measures the benefit. The rule and its two constants are the best of about a hundred on
the ten clips of `examples/annotator`.
"""

from bisect import bisect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

import numpy as np

from ..engine.drift import APPEARANCE, AREA, JUMPED, LOST
from ..types import ObjectConfidence

LOST_BADNESS = 0.2  # of an object without pixels, which may be occluded rather than lost
NEARLY_BEST = 0.9  # share of the largest gain; among frames with at least this, the worst is suggested
WORDS = {LOST: "is lost", JUMPED: "jumped", AREA: "changed its size", APPEARANCE: "looks unlike its references"}


@dataclass(frozen=True)
class Suggestion:
    """A frame to correct.

    Attributes:
        index: Index of the frame.
        reason: The reason, in words.
        gain: Expected benefit of the correction, from 0; meaningful only in comparison.
    """

    index: int
    reason: str
    gain: float


def next_to_fix(
    confidence: Mapping[int, Mapping[int, ObjectConfidence]], references: Collection[int]
) -> Suggestion | None:
    """Return the first suggestion of `ranking`, or None if there is no frame to correct."""
    return next(iter(ranking(confidence, references)), None)


def ranking(confidence: Mapping[int, Mapping[int, ObjectConfidence]], references: Collection[int]) -> list[Suggestion]:
    """Rank the frames that have objects and are not references by how much their correction is expected to help.

    A correction improves the frames around it, less the farther away they are, and not at all those that are at least
    as near to another reference. The first suggestion is the worst among the frames of nearly the largest gain; the
    others follow by gain.

    Args:
        confidence: By frame index, then by object id.
        references: Indices of the frames whose masks were given or approved by the user.
    """
    badness = {
        index: fmean(map(badness_of, objects.values()))
        for index, objects in confidence.items()
        if objects and index not in references
    }
    gains = _gains(badness, sorted(references))
    suggestions = []
    for index in badness:
        objects = confidence[index]
        worst = max(objects, key=lambda object_id: badness_of(objects[object_id]))
        suggestions.append(Suggestion(index, f"object {worst} {_why(objects[worst])}", gains[index]))
    near = NEARLY_BEST * max(gains.values(), default=0.0)
    return sorted(suggestions, key=lambda s: (-badness[s.index] if s.gain >= near else 0, -s.gain, s.index))


def badness_of(seen: ObjectConfidence) -> float:
    """Return how bad an object's mask is expected to be, from 0: from uncertainty and distance to its references."""
    return LOST_BADNESS if seen.lost else sqrt(max(0.0, 1 - seen.mean_probability) * seen.key_distance)


def _gains(badness: Mapping[int, float], references: list[int]) -> dict[int, float]:
    """Return for each frame i the sum over frames t of badness * max(0, 1 - |t - i| / (t to the nearest reference)).

    Each term is a triangle over i, with three nonzero second differences, so cumulative sums take linear time.
    """
    if not badness:
        return {}
    first, count = min(badness), max(badness) - min(badness) + 1
    # Second differences of the sum; they start at index first - count, as triangles are up to 2 * count wide.
    differences = np.zeros(3 * count + 1)
    for index, height in badness.items():
        at = bisect(references, index)
        reach = min([count, *(abs(index - reference) for reference in references[max(0, at - 1) : at + 1])])
        middle = index - first + count
        differences[[middle - reach, middle + reach]] += height / reach
        differences[middle] -= 2 * height / reach
    sums = np.cumsum(np.cumsum(differences))
    return {index: round(float(sums[index - first + count - 1]), 9) for index in badness}


def _why(seen: ObjectConfidence) -> str:
    signs = (LOST,) if seen.lost else seen.drift
    words = [WORDS[sign] for sign in signs if sign in WORDS]
    return " and ".join(words) or f"is segmented with a confidence of {100 * seen.mean_probability:.0f} %"
