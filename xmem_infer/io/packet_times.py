"""When the frames of a video file are shown and where to seek for them, from its packets, without decoding.

MP4 files have an index of their packets; other files are demuxed up to the frame. A frame is identified by its
presentation timestamp (pts).
"""

from bisect import bisect_left, bisect_right, insort
from itertools import islice
from typing import TYPE_CHECKING

import av

from .video_faults import DroppedFrames, Truncation

if TYPE_CHECKING:
    from .video import VideoFile

PTS_FORMATS = ("mov", "matroska", "mpegts", "flv")  # container formats that store presentation timestamps
REORDER_PACKETS = 32  # how many packets later than its presentation order a frame may be coded; codecs allow 16


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
        if not (self._dropped.active or self._container.format.name.startswith(PTS_FORMATS)):
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
        has_pts = self._container.format.name.startswith(PTS_FORMATS)
        if not (has_pts and is_complete and is_sorted and self._keyframes[:1] == [0]):
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
        shown = enumerate(sorted(times)[: stop - start], start)
        return {number: (time, seeks if time >= times[0] else seeks[1:]) for number, time in shown}
