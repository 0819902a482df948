"""Int8 beside float32 on one video: what was compared, and where it goes on from if they differ."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from ..engine.state import VideoState
from ..results import FrameResult
from ..runtime.backends.int8 import SEGMENT, Int8


class DiffersError(Exception):
    """Int8 differs from float32: frames since the last one on which it did not are to be segmented again."""


class Int8Watch:
    """Follows the comparisons that `Int8` makes while one video is segmented."""

    def __init__(self, int8: Int8):
        self._int8 = int8
        int8.news.clear()  # of another video
        self._shares: dict[str, dict[int, float]] = {}  # of masks, by frame and object
        self._compared, self._went_back = 0, list[dict[str, Any]]()
        self._agreed: tuple[int, list[VideoState]] | None = None  # frames done, and the states behind them

    def look(
        self, result: FrameResult, frames: int, states: Sequence[VideoState], keep: Callable[..., object] | None
    ) -> FrameResult:
        """Take what was compared on a frame; it is added to its confidences.

        Args:
            result: The frame's.
            frames: How many there are with it.
            states: Those behind it.
            keep: Called with frames and states of the last frame on which int8 agreed, to go on from there; None: the
                video is begun anew.

        Raises:
            DiffersError: Int8 differs, and is used no more where it does.
        """
        news = [self._int8.news.popleft() for _ in range(len(self._int8.news))]
        self._compared += len(news)
        masks = [one for one in news if one.verb == SEGMENT]
        for one in masks:
            self._shares[result.frame.name] = dict(zip(result.object_ids, one.shares, strict=False))
        if differing := [one for one in news if not one.holds]:
            can_keep = self._agreed is not None and keep is not None and keep(*self._agreed)
            done = self._agreed[0] if self._agreed is not None and can_keep else 0
            part, share = differing[0].part, max(differing[0].shares)
            self._went_back.append({"frame": result.frame.name, "part": part, "share": share, "frames_kept": done})
            raise DiffersError
        if masks and keep is not None:
            self._agreed = frames, deepcopy(list(states))
        shares = self._shares.get(result.frame.name, {})
        confidence = {
            one: replace(seen, int8_differs=shares.get(one, seen.int8_differs))
            for one, seen in result.confidence.items()
        }
        return replace(result, confidence=confidence)

    def summary(self) -> dict[str, Any]:
        """For the video's entry in run.json."""
        largest = max((share for shares in self._shares.values() for share in shares.values()), default=None)
        about = {"parts": self._int8.parts(), "compared": self._compared, "largest_share_of_a_mask": largest}
        return {"int8": {**about, "went_back": self._went_back}}
