"""Random access to the frames of a video file, with the same result as decoding it sequentially.

The presentation timestamp (pts) of a frame is read from the packets, without decoding: MP4 files have an index of
their packets, other files are demuxed up to the frame. Then the decoder seeks to the keyframe before it and decodes
until it returns the frame with this pts. If timestamps or seeking are unreliable, the file is decoded from its start.
"""

import threading
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame

from ..types import Frame
from .corrupt import CorruptPolicy
from .listing import numbered_name
from .video_faults import DroppedFrames, Truncation

if TYPE_CHECKING:
    from .video import VideoFile

PTS_FORMATS = ("mov", "matroska", "mpegts", "flv")  # container formats that store presentation timestamps
REORDER_PACKETS = 32  # how many packets later than its presentation order a frame may be coded; codecs allow 16
CACHE_BYTES = 128 * 2**20  # decoded frames to cache, so that stepping backwards decodes each section only once
DECODE_AHEAD = 8  # a frame at most this far ahead is reached by decoding on instead of seeking


class UnreliableTimes(Exception):
    """The packets' timestamps do not identify the frames."""


class DemuxedTimes:
    """Timestamps of the frames, collected by demuxing the file as far as needed."""

    def __init__(self, video: "VideoFile"):
        self._container = video.open()
        self._stream = video.stream(self._container)
        self._packets = self._container.demux(self._stream)
        self._dropped = DroppedFrames(self._stream.codec_context, self._container.format.name)
        self._truncation = Truncation(self._container, self._stream)
        self._times: list[int] = []  # pts of all frames, sorted
        self._keyframes: list[int] = []  # pts of the keyframes, sorted
        self._ended = False

    def locate(self, index: int) -> tuple[int, list[int]]:
        """Return the pts of a frame, and up to three timestamps to seek to, the nearest first.

        Raises:
            IndexError: `index` is beyond the last frame.
            UnreliableTimes: The timestamps do not identify the frames.
        """
        self._read(index + 1 + REORDER_PACKETS)
        time = self._times[index]
        stop = bisect_right(self._keyframes, time)
        return time, self._keyframes[max(0, stop - 3) : stop][::-1]

    def count(self) -> int:
        """Return the number of frames; demuxes the file to its end. Raises UnreliableTimes."""
        self._read(None)
        return len(self._times)

    def _read(self, count: int | None) -> None:
        """Demux until `count` frames are known, or to the end of the file if None."""
        while not self._ended and (count is None or len(self._times) < count):
            try:
                packet = next(self._packets, None)
            except av.FFmpegError as error:
                raise UnreliableTimes(str(error)) from error
            if packet is None or packet.size == 0:
                self._ended = True
                continue
            skipped = self._dropped.skipped
            self._truncation.record(packet)
            self._dropped.sent(packet)
            if not self._dropped.reliable or packet.pts is None:
                raise UnreliableTimes("times are missing, or jump back")
            if packet.is_discard or self._dropped.skipped > skipped:
                continue
            place = bisect_left(self._times, packet.pts)
            if self._times[place : place + 1] == [packet.pts]:
                raise UnreliableTimes("two frames have one time")
            self._times.insert(place, packet.pts)
            if packet.is_keyframe:
                insort(self._keyframes, packet.pts)
        if self._ended and self._truncation.missing(len(self._times)):
            raise UnreliableTimes("the file ends early")
        if not (self._dropped.active or _has_pts(self._container)):
            raise UnreliableTimes("times do not show the order of frames")


class IndexedTimes:
    """Timestamps of the frames from the file's index, which lists all packets; only packets near a frame are read."""

    def __init__(self, video: "VideoFile"):
        self._container = video.open()
        self._stream = video.stream(self._container)
        entries = list(self._stream.index_entries)
        self._dts = [entry.timestamp for entry in entries]
        self._keyframes = [number for number, entry in enumerate(entries) if entry.is_keyframe]
        is_complete = len(entries) == self._stream.frames and not any(entry.is_discard for entry in entries)
        is_sorted = all(a < b for a, b in zip(self._dts, self._dts[1:], strict=False))
        first = next(self._container.demux(self._stream), None)
        if not (_has_pts(self._container) and is_complete and is_sorted and self._keyframes[:1] == [0]):
            raise UnreliableTimes("there is no whole index")
        if first is None or first.pts is None or first.dts != self._dts[0]:
            raise UnreliableTimes("the index is not of the packets")
        self._delay = first.pts - first.dts  # added to a dts of the index, because seeking takes a pts
        self._located: dict[int, tuple[int, list[int]]] = {}  # results of `locate` around the last request

    def locate(self, index: int) -> tuple[int, list[int]]:
        """Return the pts of a frame, and timestamps to seek to, as `DemuxedTimes.locate` does."""
        if index >= len(self._dts):
            raise IndexError(index)
        if index not in self._located:
            self._located = self._locate_group(index)
        if index not in self._located:
            raise UnreliableTimes("the file ends early")
        return self._located[index]

    def count(self) -> int:
        """Return the number of frames."""
        return len(self._dts)

    def _locate_group(self, index: int) -> dict[int, tuple[int, list[int]]]:
        """Locate all frames from the keyframe at or before `index` up to the next keyframe; returned by index.

        This relies on frames coded from a keyframe on being shown after all frames coded before it.
        """
        key = bisect_right(self._keyframes, index) - 1
        start = self._keyframes[key]
        stop = self._keyframes[key + 1] if key + 1 < len(self._keyframes) else len(self._dts)
        self._container.seek(self._dts[start] + self._delay, stream=self._stream)
        packets = [p for p in islice(self._container.demux(self._stream), stop - start + REORDER_PACKETS) if p.size]
        times = [packet.pts for packet in packets if packet.pts is not None]
        if not packets or packets[0].dts != self._dts[start] or len(set(times)) < len(packets):
            raise UnreliableTimes("seeking does not lead to the key frame")
        # Frames shown before the keyframe depend on earlier frames, so the seek must go to an earlier keyframe.
        seeks = [self._dts[number] + self._delay for number in self._keyframes[max(0, key - 2) : key + 1]][::-1]
        located = {}
        for number, time in enumerate(sorted(times)[: stop - start]):
            located[start + number] = time, seeks if time >= times[0] else seeks[1:]
        return located


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
        self._newest = -1  # index of the last frame in `_recent`
        self._sequential: Iterator[Frame] = iter(())
        self._sequential_recent: deque[Frame] = deque(maxlen=max(8, CACHE_BYTES // (height * width * 3)))
        self._times: IndexedTimes | DemuxedTimes | None = self._open_times(IndexedTimes)  # None: not reliable

    def __len__(self) -> int:
        while self._times is not None:
            try:
                return self._times.count()
            except UnreliableTimes:
                self._fall_back()
        return sum(1 for _ in self._video)

    def __getitem__(self, index: int) -> Frame:
        with self._lock:
            while self._times is not None:
                try:
                    return self._frame_by_seeking(index)
                except UnreliableTimes:
                    self._fall_back()
            return self._frame_by_counting(index)

    def _open_times(self, kind: type[IndexedTimes] | type[DemuxedTimes] | None) -> IndexedTimes | DemuxedTimes | None:
        try:
            return kind(self._video) if kind else None
        except (UnreliableTimes, av.FFmpegError):
            return self._open_times(DemuxedTimes if kind is IndexedTimes else None)

    def _fall_back(self) -> None:
        """Switch from the index to demuxed timestamps, or from these to sequential decoding."""
        self._times = self._open_times(DemuxedTimes if isinstance(self._times, IndexedTimes) else None)
        self._newest = -1
        self._recent.clear()

    def _frame_by_seeking(self, index: int) -> Frame:
        assert self._times is not None, "there are times to seek by"
        time, seeks = self._times.locate(index)
        if not any(frame.pts == time for frame in self._recent):
            self._decode_to(index, time, seeks)
        time_s = None if self._stream.time_base is None else float(time * self._stream.time_base)
        name = numbered_name(index, self._video.count)
        for frame in self._recent:
            if frame.pts == time and not frame.is_corrupt:
                return self._video.checked(Frame(index, name, upright(frame), time_s))
        policy = CorruptPolicy(self._video.name, self._video.on_corrupt, [])
        policy.last_readable = self._frame_by_seeking(index - 1) if index else None
        return policy.corrupt(f"frame {name}", index, name, "cannot be decoded", time_s)

    def _decode_to(self, index: int, time: int, seeks: list[int]) -> None:
        """Decode up to the frame with this pts, from the current position or after seeking to an earlier keyframe."""
        is_near = self._recent and self._newest >= 0 and 0 < index - self._newest <= DECODE_AHEAD
        is_past_keyframe = self._recent and seeks and seeks[0] <= (self._recent[-1].pts or 0) < time
        if (is_near or is_past_keyframe) and self._decode_until(time):
            self._newest = index
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
                self._newest = index
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


def _has_pts(container: InputContainer) -> bool:
    return container.format.name.startswith(PTS_FORMATS)


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
