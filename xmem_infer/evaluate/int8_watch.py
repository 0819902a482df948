"""Comparison of int8 with float32 while one video is segmented, and rollback if they differ."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from ..engine.state import VideoState
from ..results import FrameResult
from ..runtime.backends.differences import DECODE
from ..runtime.backends.int8 import Int8


class DiffersError(Exception):
    """Int8 differs from float32: the frames since the last comparison that agreed must be segmented again."""


class Int8Watch:
    """Collects the comparisons that `Int8` makes during one video."""

    def __init__(self, int8: Int8):
        self._int8 = int8
        int8.news.clear()  # drop comparisons of the previous video
        self._shares: dict[str, dict[int, float]] = {}  # share of a mask that differs, by frame and object
        self._compared, self._went_back = 0, list[dict[str, Any]]()
        self._agreed: tuple[int, list[VideoState]] | None = None  # number of frames and states at the last agreement

    def check(
        self, result: FrameResult, frames: int, states: Sequence[VideoState], save: Callable[..., object] | None
    ) -> FrameResult:
        """Return the result of a frame with `int8_differs` filled in where an object was compared.

        Args:
            result: The frame's result.
            frames: Number of frames segmented so far, including this one.
            states: The states after this frame, one per pass.
            save: Called with the number of frames and the states of the last frame on which int8 agreed, to save the
                progress up to there; returns whether it did. None: the video is restarted from the beginning.

        Raises DiffersError if int8 differs; `Int8` has already switched the part at fault back to float32.
        """
        news = list(self._int8.news)
        self._int8.news.clear()
        self._compared += len(news)
        masks = [comparison for comparison in news if comparison.verb == DECODE]
        for comparison in masks:
            self._shares[result.frame.name] = dict(zip(result.object_ids, comparison.shares, strict=False))
        if differing := [comparison for comparison in news if not comparison.holds]:
            kept = self._agreed[0] if self._agreed and save and save(*self._agreed) else 0
            part, share = differing[0].part, max(differing[0].shares)
            self._went_back.append({"frame": result.frame.name, "part": part, "share": share, "frames_kept": kept})
            raise DiffersError
        if masks and save is not None:
            self._agreed = frames, deepcopy(list(states))
        shares = self._shares.get(result.frame.name, {})
        confidence = {
            object_id: replace(seen, int8_differs=shares.get(object_id, seen.int8_differs))
            for object_id, seen in result.confidence.items()
        }
        return replace(result, confidence=confidence)

    def summary(self) -> dict[str, Any]:
        """Return the comparisons of this video for its entry in run.json."""
        largest = max((share for shares in self._shares.values() for share in shares.values()), default=None)
        about = {"parts": self._int8.parts(), "compared": self._compared, "largest_share_of_a_mask": largest}
        return {"int8": {**about, "went_back": self._went_back}}
