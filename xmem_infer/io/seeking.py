"""Frames of a video file in any order, each as one pass over the file would give it.

Which time a frame has is learned from coded packets, without decoding. MP4 files have an index of them; of others the
file is read up to there. Then the key frame before is looked for and decoded on from, and the frame that carries the
time is the one. Where times or seeking cannot be relied on, the file is decoded from its start.
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

SHOW_TIMES = ("mov", "matroska", "mpegts", "flv")  # formats that store when a frame is shown
REORDERED = 32  # packets by which a frame may come later than it is shown; codecs allow 16
KEPT_BYTES = 128 * 2**20  # of decoded frames, so that going backwards decodes each stretch once
RAN_THROUGH = 8  # frames ahead that are decoded rather than sought


class UnreliableTimes(Exception):
    """The packets do not tell which frame is which."""


class Packets:
    """Times of the coded frames, from the packets of the file, as far as they have been asked for."""

    def __init__(self, video: "VideoFile"):
        self._container = video.open()
        self._stream = video.stream(self._container)
        self._packets = self._container.demux(self._stream)
        self._dropped = DroppedFrames(self._stream.codec_context, self._container.format.name)
        self._truncation = Truncation(self._container, self._stream)
        self._times: list[int] = []
        self._keys: list[int] = []
        self._ended = False

    def locate(self, index: int) -> tuple[int, list[int]]:
        """The time of a frame, and where to seek for it, best first. Raises IndexError behind the last frame."""
        self._read(index + 1 + REORDERED)
        time = self._times[index]
        return time, self._keys[max(0, bisect_right(self._keys, time) - 3) : bisect_right(self._keys, time)][::-1]

    def count(self) -> int:
        """Number of frames: the file is read to its end."""
        self._read(None)
        return len(self._times)

    def _read(self, count: int | None) -> None:
        while not self._ended and (count is None or len(self._times) < count):
            try:
                packet = next(self._packets, None)
            except av.FFmpegError as error:
                raise UnreliableTimes(str(error)) from error
            if packet is None or packet.size == 0:
                self._ended = True
                continue
            skipped = self._dropped.skipped
            self._truncation.seen(packet)
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
                insort(self._keys, packet.pts)
        if self._ended and self._truncation.missing(len(self._times)):
            raise UnreliableTimes("the file ends early")
        if not (self._dropped.active or _shows_times(self._container)):
            raise UnreliableTimes("times do not show the order of frames")


class Index:
    """The same from an index of all packets, so that only those around a frame are read."""

    def __init__(self, video: "VideoFile"):
        self._container = video.open()
        self._stream = video.stream(self._container)
        entries = list(self._stream.index_entries)
        self._coded = [entry.timestamp for entry in entries]
        self._keys = [number for number, entry in enumerate(entries) if entry.is_keyframe]
        is_whole = len(entries) == self._stream.frames and not any(entry.is_discard for entry in entries)
        in_order = all(a < b for a, b in zip(self._coded, self._coded[1:], strict=False))
        first = next(self._container.demux(self._stream), None)
        if not (_shows_times(self._container) and is_whole and in_order and self._keys[:1] == [0]):
            raise UnreliableTimes("there is no whole index")
        if first is None or first.pts is None or first.dts != self._coded[0]:
            raise UnreliableTimes("the index is not of the packets")
        self._delay = first.pts - first.dts  # seeking takes times of showing, less this
        self._found: dict[int, tuple[int, list[int]]] = {}

    def locate(self, index: int) -> tuple[int, list[int]]:
        """See `Packets.locate`."""
        if index >= len(self._coded):
            raise IndexError(index)
        if index not in self._found:
            self._found = self._around(index)
        if index not in self._found:
            raise UnreliableTimes("the file ends early")
        return self._found[index]

    def count(self) -> int:
        """Number of frames."""
        return len(self._coded)

    def _around(self, index: int) -> dict[int, tuple[int, list[int]]]:
        """Times of the frames between the key frame at or before one and the key frame after it, by index.

        Frames coded from a key frame on are shown after all that are coded before it.
        """
        key = bisect_right(self._keys, index) - 1
        start = self._keys[key]
        stop = self._keys[key + 1] if key + 1 < len(self._keys) else len(self._coded)
        self._container.seek(self._coded[start] + self._delay, stream=self._stream)
        packets = [p for p in islice(self._container.demux(self._stream), stop - start + REORDERED) if p.size]
        times = [packet.pts for packet in packets if packet.pts is not None]
        if not packets or packets[0].dts != self._coded[start] or len(set(times)) < len(packets):
            raise UnreliableTimes("seeking does not lead to the key frame")
        # Frames that are shown before the key frame refer to frames before it.
        seeks = [self._coded[number] + self._delay for number in self._keys[max(0, key - 2) : key + 1]][::-1]
        found = {}
        for number, time in enumerate(sorted(times)[: stop - start]):
            found[start + number] = time, seeks if time >= times[0] else seeks[1:]
        return found


class Seeker:
    """Decodes the frames of a file that are asked for; two threads may ask."""

    def __init__(self, video: "VideoFile"):
        self._video = video
        self._lock = threading.Lock()
        self._container = video.open()
        self._stream = video.stream(self._container)
        self._decoded: Iterator[VideoFrame] = iter(())
        height, width = video.size
        self._recent: deque[VideoFrame] = deque(maxlen=max(8, KEPT_BYTES // (height * width * 2)))
        self._newest = -1  # index of the last frame in `_recent`
        self._passed: deque[Frame] = deque(maxlen=max(8, KEPT_BYTES // (height * width * 3)))
        self._pass: Iterator[Frame] = iter(())
        self._times: Index | Packets | None = self._packet_times(Index)

    def __len__(self) -> int:
        while self._times is not None:
            try:
                return self._times.count()
            except UnreliableTimes:
                self._give_up()
        return sum(1 for _ in self._video)

    def __getitem__(self, index: int) -> Frame:
        with self._lock:
            while self._times is not None:
                try:
                    return self._sought(index)
                except UnreliableTimes:
                    self._give_up()
            return self._counted(index)

    def _packet_times(self, kind: type[Index] | type[Packets] | None) -> Index | Packets | None:
        try:
            return kind(self._video) if kind else None
        except (UnreliableTimes, av.FFmpegError):
            return self._packet_times(Packets if kind is Index else None)

    def _give_up(self) -> None:
        """Go over to the next way to know times."""
        self._times = self._packet_times(Packets if isinstance(self._times, Index) else None)
        self._newest = -1
        self._recent.clear()

    def _sought(self, index: int) -> Frame:
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
        policy.last_readable = self._sought(index - 1) if index else None
        return policy.corrupt(f"frame {name}", index, name, "cannot be decoded", time_s)

    def _decode_to(self, index: int, time: int, seeks: list[int]) -> None:
        """Decode up to a frame's time, from where decoding stands or from a key frame before."""
        is_near = self._recent and self._newest >= 0 and 0 < index - self._newest <= RAN_THROUGH
        is_ahead = self._recent and seeks and seeks[0] <= (self._recent[-1].pts or 0) < time
        if (is_near or is_ahead) and self._run_to(time):
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
            if self._run_to(time):
                self._newest = index
                return

    def _run_to(self, time: int) -> bool:
        """Whether decoding has passed a time, and shown a frame at or before it."""
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
            except av.FFmpegError:  # which frame it was, its time tells
                continue

    def _counted(self, index: int) -> Frame:
        """The frame of an index by counting, from the start where it lies behind."""
        for frame in self._passed:
            if frame.index == index:
                return frame
        if not self._passed or index < self._passed[-1].index:
            self._passed.clear()
            self._pass = iter(self._video)
        for frame in self._pass:
            self._passed.append(frame)
            if frame.index == index:
                return frame
        raise IndexError(index)


def _shows_times(container: InputContainer) -> bool:
    return container.format.name.startswith(SHOW_TIMES)


def upright(frame: VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a decoded frame, turned and mirrored as its display matrix says.

    The matrix (a b; c d) takes a pixel at (x, y) to (a x + c y, b x + d y), y pointing down. Turns that are
    no multiple of 90 degrees are left out.
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
