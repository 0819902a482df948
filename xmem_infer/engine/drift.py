"""Signs that the mask of an object has left it, told without annotations: for people to look there first.

The thresholds were chosen on ten annotated clips with the embedded model; docs/evaluation.md has what they find.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import hypot, sqrt
from operator import mul
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn  # waits for a thread that imports torch; `import torch.nn.functional` would not

from ..types import ObjectConfidence

LOST, JUMPED, AREA, APPEARANCE, UNSURE = "lost", "jumped", "area", "appearance", "unsure"
JUMP = 0.75  # of its size (the root of its area): so far its centre moves from one frame to the next
AREA_FACTOR = 2.5  # larger or smaller than the median of AREA_FRAMES frames before
AREA_FRAMES = 15
KEY_DISTANCE, SURE = 0.08, 0.93  # farther from all its references, and less probable than SURE
UNSURE_BELOW = 0.87  # mean probability
MERGED_GAP = 5  # frames without a sign that do not end an episode
MAX_EPISODES = 4  # named for each object


def mean_keys(key: Tensor, prob: Tensor) -> Tensor:
    """What each object looks like to the network: the mean of its query keys, of unit length, (O, C_k).

    Args:
        key: (1, C_k, h, w) of the frame.
        prob: (O + 1, H, W), background first, of the picture that the keys are of.
    """
    weights = nn.functional.adaptive_avg_pool2d(prob[1:].float(), (key.shape[-2], key.shape[-1])).flatten(1)
    weights = weights * (weights > weights.amax(1, keepdim=True) / 2)  # the edge is of the background, too
    return nn.functional.normalize(weights @ key[0].flatten(1).T.float(), dim=1)


@dataclass
class _Track:
    """One object so far, in plain numbers, since it is saved with a stopped video.

    references: its keys where its mask was given. centre: row and column in the frame before.
    """

    references: list[list[float]] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    centre: tuple[float, float] | None = None


class DriftWatch:
    """Follows the objects of one video from frame to frame."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}

    def look(
        self, mask: np.ndarray, confidence: Mapping[int, ObjectConfidence], keys: Tensor, given: Collection[int]
    ) -> dict[int, ObjectConfidence]:
        """The confidences of the next frame with `key_distance` and `drift` filled in.

        Args:
            mask: (H, W) uint8 object ids.
            confidence: By object id.
            keys: (O, C_k), see `mean_keys`, in the order of `confidence`.
            given: Ids of the objects whose masks were given in this frame: new references.
        """
        found = {}
        for (object_id, seen), key in zip(confidence.items(), keys.tolist(), strict=True):
            track, centre = self._tracks.setdefault(object_id, _Track()), _centre(mask, object_id, seen.area_px)
            if object_id in given:
                track.references.append(key)
                track.areas.clear()
                found[object_id] = seen
            else:
                distance = 1 - max((sum(map(mul, reference, key)) for reference in track.references), default=1.0)
                seen = replace(seen, key_distance=0.0 if seen.lost else max(0.0, distance))
                found[object_id] = replace(seen, drift=tuple(_signs(seen, track, centre, min(mask.shape))))
            track.areas = [*track.areas, seen.area_px][-AREA_FRAMES:]
            track.centre = centre
        return found


def _signs(seen: ObjectConfidence, track: _Track, centre: tuple[float, float] | None, short_side: int) -> list[str]:
    if seen.lost:
        return [LOST]
    signs = []
    if centre and track.centre:
        moved = hypot(centre[0] - track.centre[0], centre[1] - track.centre[1])
        if moved > JUMP * max(sqrt(max(seen.area_px, track.areas[-1])), short_side / 100):
            signs.append(JUMPED)
    usual = float(np.median(track.areas)) if track.areas else 0.0
    if usual and not usual / AREA_FACTOR <= seen.area_px <= usual * AREA_FACTOR:
        signs.append(AREA)
    if seen.key_distance > KEY_DISTANCE and seen.mean_probability < SURE:
        signs.append(APPEARANCE)
    if seen.mean_probability < UNSURE_BELOW:
        signs.append(UNSURE)
    return signs


def _centre(mask: np.ndarray, object_id: int, area_px: int) -> tuple[float, float] | None:
    """Mean row and column; None without pixels. Of a large mask every few pixels tell it as well."""
    step = 1 + int(sqrt(area_px) / 64)
    rows, columns = np.nonzero(mask[::step, ::step] == object_id)
    return (step * float(rows.mean()), step * float(columns.mean())) if len(rows) else None


class Episode(NamedTuple):
    """Consecutive frames of an object with signs: names of the first and last, how many have signs, which ones."""

    object: int
    first: str
    last: str
    frames: int
    signs: tuple[str, ...]


class DriftSummary:
    """Collects the signs of a video's frames into episodes."""

    def __init__(self) -> None:
        self.frames = 0
        self._last: dict[int, int] = {}  # number of the frame in which an object had signs
        self._episodes: list[Episode] = []

    def add(self, frame: str, confidence: Mapping[int, ObjectConfidence]) -> None:
        """Take the next frame, by its name."""
        self.frames += 1
        for object_id, seen in confidence.items():
            if not seen.drift:
                continue
            goes_on = self.frames - self._last.get(object_id, -MERGED_GAP) <= MERGED_GAP + 1
            at = max((i for i, one in enumerate(self._episodes) if goes_on and one.object == object_id), default=None)
            if at is None:
                self._episodes.append(Episode(object_id, frame, frame, 1, seen.drift))
            else:
                one = self._episodes[at]
                signs = tuple(dict.fromkeys((*one.signs, *seen.drift)))
                self._episodes[at] = one._replace(last=frame, frames=one.frames + 1, signs=signs)
            self._last[object_id] = self.frames

    def episodes(self) -> list[dict[str, Any]]:
        """For run.json, by object, then in the order of the video."""
        return [one._asdict() for one in sorted(self._episodes, key=lambda one: one.object)]


def describe_briefly(episodes: Sequence[Mapping[str, Any]]) -> str:
    """Frames with signs by object: `signs of drift: object 2 (12 frames)`; nothing where there are none."""
    frames: dict[int, int] = {}
    for one in episodes:
        frames[one["object"]] = frames.get(one["object"], 0) + one["frames"]
    named = ", ".join(f"object {i} ({n} frame{'s' * (n > 1)})" for i, n in list(frames.items())[:MAX_EPISODES])
    more = f" and {len(frames) - MAX_EPISODES} more" if len(frames) > MAX_EPISODES else ""
    return f"signs of drift: {named}{more}" if frames else ""


def describe(episodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each object: the longest of its episodes in the order of the video, and how many more there are."""
    lines = []
    for object_id in dict.fromkeys(one["object"] for one in episodes):
        own = [one for one in episodes if one["object"] == object_id]
        longest = sorted(own, key=lambda one: -one["frames"])[:MAX_EPISODES]
        named = [one for one in own if one in longest][:MAX_EPISODES]
        spans = [
            f"{one['first']}{'' if one['first'] == one['last'] else '-' + one['last']} ({', '.join(one['signs'])})"
            for one in named
        ]
        more = f" and {len(own) - len(named)} more" if len(own) > len(named) else ""
        lines.append(f"object {object_id} may have drifted in {', '.join(spans)}{more}")
    return lines
