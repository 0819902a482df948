"""Detect, without annotations, that the mask of an object may have drifted off it, so that people check there first.

The thresholds were tuned on ten annotated clips with the embedded model; docs/evaluation.md reports what they detect.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import hypot, sqrt
from operator import mul
from typing import Any

import numpy as np

# This form waits for a thread that is still importing torch; `import torch.nn.functional` would not.
from torch import Tensor, nn

from ..ops.images import pad, padding_for
from ..types import ObjectConfidence

LOST, JUMPED, AREA, APPEARANCE, UNSURE = "lost", "jumped", "area", "appearance", "unsure"
JUMP = 0.75  # JUMPED: the centre moves between two frames by more than this share of the object's size, sqrt(area)
AREA_FACTOR = 2.5  # AREA: larger or smaller by this factor than the median of the last AREA_FRAMES frames
AREA_FRAMES = 15
KEY_DISTANCE, SURE = 0.08, 0.93  # APPEARANCE: farther than this from every reference key, and less probable than SURE
UNSURE_BELOW = 0.87  # UNSURE: mean probability below this
MERGED_GAP = 5  # this many frames without a sign do not yet end an episode
MAX_EPISODES = 4  # objects or episodes listed in a description


def mean_keys(key: Tensor, prob: Tensor) -> Tensor:
    """Return the mean query key of each object, normalised to unit length, (O, C_k): its appearance to the network.

    key: (1, C_k, h, w). prob: (O + 1, H, W) of the same image, background first, without the engine's padding.
    """
    prob = pad(prob[1:].float(), padding_for(prob.shape[-2], prob.shape[-1]))
    weights = nn.functional.adaptive_avg_pool2d(prob, (key.shape[-2], key.shape[-1])).flatten(1)
    weights = weights * (weights > weights.amax(1, keepdim=True) / 2)  # tokens on the edge mix in the background
    return nn.functional.normalize(weights @ key[0].flatten(1).T.float(), dim=1)


@dataclass
class _Track:
    """History of one object, in plain Python numbers because it is saved with a stopped video."""

    references: list[list[float]] = field(default_factory=list)  # mean keys where its mask was given
    areas: list[int] = field(default_factory=list)  # px in the last AREA_FRAMES frames since the last given mask
    centre: tuple[float, float] | None = None  # (row, column) in the previous frame


class DriftWatch:
    """Drift detector for the objects of one video, fed frame by frame."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}

    def look(
        self, mask: np.ndarray, confidence: Mapping[int, ObjectConfidence], keys: Tensor, given: Collection[int]
    ) -> dict[int, ObjectConfidence]:
        """Process the next frame and return its confidences, by object id, with `key_distance` and `drift` filled in.

        mask: (H, W) uint8 object ids. keys: (O, C_k) of `mean_keys`, in the order of `confidence`. given: ids of the
        objects whose masks were given on this frame; their keys become references.
        """
        updated = {}
        for (object_id, seen), key in zip(confidence.items(), keys.tolist(), strict=True):
            track, centre = self._tracks.setdefault(object_id, _Track()), _centre(mask, object_id, seen.area_px)
            if object_id in given:
                track.references.append(key)
                track.areas.clear()
                updated[object_id] = seen
            else:
                distance = 1 - max((sum(map(mul, reference, key)) for reference in track.references), default=1.0)
                seen = replace(seen, key_distance=0.0 if seen.lost else max(0.0, distance))
                updated[object_id] = replace(seen, drift=tuple(_signs(seen, track, centre, min(mask.shape))))
            track.areas = [*track.areas, seen.area_px][-AREA_FRAMES:]
            track.centre = centre
        return updated


def _signs(seen: ObjectConfidence, track: _Track, centre: tuple[float, float] | None, short_side: int) -> list[str]:
    if seen.lost:
        return [LOST]
    signs = []
    if centre and track.centre:
        moved = hypot(centre[0] - track.centre[0], centre[1] - track.centre[1])
        if moved > JUMP * max(sqrt(max(seen.area_px, track.areas[-1])), short_side / 100):
            signs.append(JUMPED)
    median = float(np.median(track.areas)) if track.areas else 0.0
    if median and not median / AREA_FACTOR <= seen.area_px <= median * AREA_FACTOR:
        signs.append(AREA)
    if seen.key_distance > KEY_DISTANCE and seen.mean_probability < SURE:
        signs.append(APPEARANCE)
    if seen.mean_probability < UNSURE_BELOW:
        signs.append(UNSURE)
    return signs


def _centre(mask: np.ndarray, object_id: int, area_px: int) -> tuple[float, float] | None:
    """Return the mean (row, column), or None if the mask is empty; large masks are subsampled to save time."""
    step = 1 + int(sqrt(area_px) / 64)
    rows, columns = np.nonzero(mask[::step, ::step] == object_id)
    return (step * float(rows.mean()), step * float(columns.mean())) if len(rows) else None


class DriftSummary:
    """Group the signs of drift on a video's frames into episodes, runs of frames on which an object shows signs.

    An episode has the keys `object`, `first` and `last` (frame names), `frames` (number of frames with signs, without
    the gaps of up to MERGED_GAP frames between them) and `signs` (every sign seen).
    """

    def __init__(self) -> None:
        self.frames = 0
        self._last: dict[int, int] = {}  # by object id: number of the last frame with signs
        self._episodes: dict[int, list[dict[str, Any]]] = {}  # by object id, in video order

    def add(self, frame: str, confidence: Mapping[int, ObjectConfidence]) -> None:
        """Add the next frame, given its name and the confidences of its objects."""
        self.frames += 1
        for object_id, seen in confidence.items():
            if not seen.drift:
                continue
            own = self._episodes.setdefault(object_id, [])
            if not own or self.frames - self._last[object_id] > MERGED_GAP + 1:
                own.append({"object": object_id, "first": frame, "last": frame, "frames": 0, "signs": []})
            signs = list(dict.fromkeys((*own[-1]["signs"], *seen.drift)))
            own[-1] |= {"last": frame, "frames": own[-1]["frames"] + 1, "signs": signs}
            self._last[object_id] = self.frames

    def episodes(self) -> list[dict[str, Any]]:
        """Return the episodes for run.json, sorted by object, then in the order of the video."""
        return [episode for _, own in sorted(self._episodes.items()) for episode in own]


def describe_briefly(episodes: Sequence[Mapping[str, Any]]) -> str:
    """Count frames with signs per object, as in `signs of drift: object 2 (12 frames)`; empty without episodes."""
    frames = Counter[int]()
    for episode in episodes:
        frames[episode["object"]] += episode["frames"]
    named = ", ".join(f"object {i} ({n} frame{'s' * (n > 1)})" for i, n in list(frames.items())[:MAX_EPISODES])
    more = f" and {len(frames) - MAX_EPISODES} more" if len(frames) > MAX_EPISODES else ""
    return f"signs of drift: {named}{more}" if frames else ""


def describe(episodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line per object with its MAX_EPISODES longest episodes in video order, and the number of others."""
    lines = []
    for object_id in dict.fromkeys(episode["object"] for episode in episodes):
        own = [episode for episode in episodes if episode["object"] == object_id]
        longest = sorted(range(len(own)), key=lambda number: -own[number]["frames"])[:MAX_EPISODES]
        spans = []
        for first, last, signs in ((own[n]["first"], own[n]["last"], own[n]["signs"]) for n in sorted(longest)):
            spans.append(f"{first if first == last else f'{first}-{last}'} ({', '.join(signs)})")
        more = f" and {len(own) - len(spans)} more" if len(own) > len(spans) else ""
        lines.append(f"object {object_id} may have drifted in {', '.join(spans)}{more}")
    return lines
