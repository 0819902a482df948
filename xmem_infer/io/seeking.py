"""Random access to the frames of a video file, with the same result as decoding it sequentially.

The decoder seeks to the keyframe before a frame and decodes until it returns the frame with the presentation timestamp
(pts) that `packet_times` has found. If timestamps or seeking are unreliable, the file is decoded from its start.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.frame import VideoFrame

from ..types import Frame
from .corrupt import CorruptPolicy
from .listing import numbered_name
from .packet_times import DemuxedTimes, IndexedTimes, UnreliableTimes

if TYPE_CHECKING:
    from .video import VideoFile

CACHE_BYTES = 128 * 2**20  # decoded frames to cache, so that stepping backwards decodes each section only once
DECODE_AHEAD = 8  # a frame at most this far ahead is reached by decoding on instead of seeking


class Seeker:
    """Random access to the frames of a video file by index; several threads may call `__getitem__`."""

    def __init__(self, video: "VideoFile"):
        self._video = video
        self._lock = threading.Lock()
        self._container = video.open()
        self._stream = video.stream(self._container)
        self._decoded: Iterator[VideoFrame] = iter(())
        height, width = video.size
        self._recent: deque[VideoFrame] = deque(maxlen=max(8, CACHE_BYTES // (height * width * 2)))
        self._sequential: Iterator[Frame] = iter(())
        self._sequential_recent: deque[Frame] = deque(maxlen=max(8, CACHE_BYTES // (height * width * 3)))
        self._kinds_left: list[type[IndexedTimes] | type[DemuxedTimes]] = [IndexedTimes, DemuxedTimes]
        self._use_next_times()

    def __len__(self) -> int:
        while self._times is not None:
            try:
                return self._times.count()
            except UnreliableTimes:
                self._use_next_times()
        return sum(1 for _ in self._video)

    def __getitem__(self, index: int) -> Frame:
        with self._lock:
            while self._times is not None:
                try:
                    return self._frame_by_seeking(self._times, index)
                except UnreliableTimes:
                    self._use_next_times()
            return self._frame_by_counting(index)

    def _use_next_times(self) -> None:
        """Switch to the next kind of timestamps that the file has; after the last one, to sequential decoding."""
        times: IndexedTimes | DemuxedTimes | None = None
        while times is None and self._kinds_left:
            with suppress(UnreliableTimes, av.FFmpegError):
                times = self._kinds_left.pop(0)(self._video)
        self._times = times
        self._newest = -1  # index of the last frame in `_recent`
        self._recent.clear()

    def _frame_by_seeking(self, times: IndexedTimes | DemuxedTimes, index: int) -> Frame:
        time, seeks = times.locate(index)
        if not any(frame.pts == time for frame in self._recent):
            self._decode_to(index, time, seeks)
        time_s = None if self._stream.time_base is None else float(time * self._stream.time_base)
        name = numbered_name(index, self._video.count)
        for frame in self._recent:
            if frame.pts == time and not frame.is_corrupt:
                return self._video.checked(Frame(index, name, upright(frame), time_s))
        previous = self._frame_by_seeking(times, index - 1) if index else None
        policy = CorruptPolicy(self._video.name, self._video.on_corrupt, [], previous)
        return policy.corrupt(f"frame {name}", index, name, "cannot be decoded", time_s)

    def _decode_to(self, index: int, time: int, seeks: list[int]) -> None:
        """Decode up to the frame with this pts, from the current position or after seeking to an earlier keyframe."""
        newest, self._newest = self._newest, index
        is_near = self._recent and 0 < index - newest <= DECODE_AHEAD
        is_past_keyframe = self._recent and seeks and seeks[0] <= (self._recent[-1].pts or 0) < time
        if (is_near or is_past_keyframe) and self._decode_until(time):
            return
        for seek in [*seeks, None]:
            self._recent.clear()
            if seek is None:
                self._container = self._video.open()
                self._stream = self._video.stream(self._container)
            else:
                self._container.seek(seek, stream=self._stream)
            self._decoded = self._decode()
            if self._decode_until(time):
                return

    def _decode_until(self, time: int) -> bool:
        """Decode into `_recent` up to this pts; return whether `_recent` holds a frame at or before it."""
        for frame in self._decoded:
            if frame.pts is None:
                raise UnreliableTimes("decoded frames have no times")
            self._recent.append(frame)
            if frame.pts >= time:
                break
        return any(frame.pts is not None and frame.pts <= time for frame in self._recent)

    def _decode(self) -> Iterator[VideoFrame]:
        for packet in self._container.demux(self._stream):
            try:
                yield from self._stream.decode(packet)
            except av.FFmpegError:  # the frame is missing from `_recent`, where `_frame_by_seeking` notices it
                continue

    def _frame_by_counting(self, index: int) -> Frame:
        """Return frame `index` by decoding sequentially, restarting if it is before the frames still cached."""
        for frame in self._sequential_recent:
            if frame.index == index:
                return frame
        if not self._sequential_recent or index < self._sequential_recent[-1].index:
            self._sequential_recent.clear()
            self._sequential = iter(self._video)
        for frame in self._sequential:
            self._sequential_recent.append(frame)
            if frame.index == index:
                return frame
        raise IndexError(index)


def upright(frame: VideoFrame) -> np.ndarray:
    """Convert a decoded frame to (H, W, 3) uint8 RGB, rotated and mirrored according to its display matrix.

    The matrix (a b; c d) maps a pixel at (x, y) to (a x + c y, b x + d y), with y pointing down. Rotations that are
    not multiples of 90 degrees are ignored.
    """
    pixels = frame.to_ndarray(format="rgb24")
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    parts = np.frombuffer(memoryview(matrix), np.int32)[:5].astype(np.float64)
    a, b, _, c, d = np.rint(parts / max(1.0, np.abs(parts).max())).astype(int)
    if (a, d) == (0, 0) and b and c:
        pixels, to_right, to_bottom = pixels.transpose(1, 0, 2), c, b
    elif (b, c) == (0, 0) and a and d:
        to_right, to_bottom = a, d
    else:
        return pixels
    return np.ascontiguousarray(pixels[::to_bottom, ::to_right])
