"""Which frame to correct next: where an object's mask is likely worst.

The weights were chosen on nine annotated clips, `python scripts/annotator.py` tells what they are worth.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import fmean

from .drift import APPEARANCE, AREA, JUMPED, LOST, UNSURE
from .types import ObjectConfidence

KEY_WEIGHT = 3.0  # badness by key distance, beside 1 by missing probability
LOST_BADNESS = 0.5  # of an object without a pixel, which may be hidden
SIGN_BADNESS = {JUMPED: 0.1, AREA: 0.1, APPEARANCE: 0.1, UNSURE: 0.2}
WORDS = {LOST: "is lost", JUMPED: "jumped", AREA: "changed its size", APPEARANCE: "looks unlike its references"}


@dataclass(frozen=True)
class Suggestion:
    """A frame to correct.

    Attributes:
        index: Of the frame.
        reason: In words.
        badness: The mean over objects, from 0; of use in comparison only.
    """

    index: int
    reason: str
    badness: float


def next_to_fix(
    confidence: Mapping[int, Mapping[int, ObjectConfidence]], references: Collection[int]
) -> Suggestion | None:
    """The first of `ranking`; None where no frame is left."""
    return next(iter(ranking(confidence, references)), None)


def ranking(confidence: Mapping[int, Mapping[int, ObjectConfidence]], references: Collection[int]) -> list[Suggestion]:
    """Frames with objects that are no reference, the one to correct first at the front.

    Args:
        confidence: By the frame's index, then by object id.
        references: Indices of the frames whose masks people have made or approved.
    """
    found = []
    for index, objects in confidence.items():
        if index in references or not objects:
            continue
        badness = {object_id: badness_of(seen) for object_id, seen in objects.items()}
        worst = max(badness, key=lambda object_id: badness[object_id])
        found.append(Suggestion(index, f"object {worst} {_why(objects[worst])}", fmean(badness.values())))
    return sorted(found, key=lambda one: (-one.badness, one.index))


def badness_of(seen: ObjectConfidence) -> float:
    """How bad an object's mask is likely to be, from 0."""
    if seen.lost:
        return LOST_BADNESS
    signs = sum(SIGN_BADNESS.get(sign, 0.0) for sign in seen.drift)
    return 1 - seen.mean_probability + KEY_WEIGHT * seen.key_distance + signs


def _why(seen: ObjectConfidence) -> str:
    signs = (LOST,) if seen.lost else seen.drift
    words = [WORDS[sign] for sign in signs if sign in WORDS]
    return " and ".join(words) or f"is sure to {100 * seen.mean_probability:.0f} %"
