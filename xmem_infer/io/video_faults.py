"""Detect frames that the decoder lost, a missing end of the file, and gaps in time.

Decoders drop damaged frames silently: an error is raised some frames later, or never. Therefore the packets sent to
the decoder are compared with the frames that it returns, by presentation timestamp (pts).
"""

import math
from bisect import insort
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

HIDDEN_FRAMES = ("vp8",)  # codecs whose packets may contain frames that are never shown
STREAM_FORMATS = ("mpegts", "mpeg", "h264", "hevc", "mpegvideo", "m4v")  # may start between two keyframes


class DroppedFrames:
    """Track packets that were sent to the decoder and have not been returned as frames.

    Only packets within the decoder's delay are stored. If the timestamps are unreliable, `active` is False and no
    frame is reported as lost. That is the case if timestamps are missing, decrease or do not match those of the
    packets, or if the codec reorders frames but the pts do not show it (AVI stores decoding timestamps only).

    Attributes:
        reliable: Whether timestamps are present and do not jump back, and every packet is a frame that is shown.
        skipped: Number of coded frames before the first keyframe, left over from a cut; no decoder can show them.
    """

    def __init__(self, context: VideoCodecContext, container_format: str):
        self.reliable = context.name not in HIDDEN_FRAMES
        self._pts_give_order = not context.has_b_frames
        self.skipped = 0
        # In other formats the first packet is a keyframe, even if damage has erased its keyframe flag.
        self._needs_keyframe_flag = container_format in STREAM_FORMATS
        self._pending: list[tuple[int, bool]] = []  # sorted: (pts, whether the packet is marked as corrupt)
        self._first_keyframe_pts: int | None = None
        self._last_dts: int | None = None
        self._delay: int | None = None  # pts - dts of the previous packet

    @property
    def active(self) -> bool:
        return self.reliable and self._pts_give_order

    def sent(self, packet: Packet) -> None:
        """Record a packet that is about to be sent to the decoder."""
        pts, dts = packet.pts, packet.dts
        if pts is None or (dts is not None and self._last_dts is not None and dts < self._last_dts):
            self.reliable = False
        self._last_dts = dts
        if pts is None or not self.reliable or packet.is_discard:
            return
        delay = None if dts is None else pts - dts
        # If pts - dts varies, the pts are real presentation times and not copies of the decoding times.
        self._pts_give_order |= delay is None or self._delay not in (None, delay)
        self._delay = delay
        if self._first_keyframe_pts is None and (packet.is_keyframe or not self._needs_keyframe_flag):
            self._first_keyframe_pts = pts
        if self._first_keyframe_pts is None or pts < self._first_keyframe_pts:
            self.skipped += 1
        else:
            insort(self._pending, (pts, packet.is_corrupt))

    def received(self, pts: int | None) -> tuple[list[int], bool]:
        """Record a decoded frame.

        Returns the pts of the frames lost before it, and whether its own packet was marked as corrupt.
        """
        place = next((place for place, packet in enumerate(self._pending) if packet[0] == pts), None)
        if place is None:
            self.reliable = False
            return [], False
        if not self.active:
            del self._pending[place]
            return [], False
        lost, is_corrupt = [pts for pts, _ in self._pending[:place]], self._pending[place][1]
        del self._pending[: place + 1]
        return lost, is_corrupt

    def rest(self) -> list[int]:
        """Return the pts of the frames that are still missing after the decoder was flushed."""
        return [pts for pts, _ in self._pending] if self.active else []


class Truncation:
    """Compares the declared length of the file with the packets that were read."""

    def __init__(self, container: InputContainer, stream: VideoStream):
        self._stream = stream
        frame_s = float(1 / stream.average_rate) if stream.average_rate else 0.04
        stream_s = _declared_seconds(stream)
        file_s = float(container.duration / 1_000_000) if container.duration else None
        self._declared_s = min((s for s in (stream_s, file_s) if s is not None), default=None)
        self._by_stream = stream_s is not None
        # The duration of the whole file is rounded, and may be determined by the last packet of another stream.
        self._tolerance_s = max((0.5 if stream.frames else 1.5) * frame_s, 0 if self._by_stream else 0.5)
        self._start_s = math.inf
        self._end_s = 0.0
        self._packets = 0
        self.reading_failed: str | None = None  # the error that stopped reading before the end of the file

    def record(self, packet: Packet) -> None:
        """Record a packet of any stream."""
        is_own = packet.stream_index == self._stream.index
        self._packets += is_own
        timestamp = packet.pts if packet.pts is not None else packet.dts
        if timestamp is None or packet.time_base is None or (self._by_stream and not is_own):
            return
        start_s = float(timestamp * packet.time_base)
        self._start_s = min(self._start_s, start_s)
        self._end_s = max(self._end_s, start_s + float((packet.duration or 0) * packet.time_base))

    def missing(self, decoded: int) -> str | None:
        """Describe what is missing at the end of the file; None if the file is complete.

        Both the frame count and the duration are checked: a low count alone proves nothing, because edit lists
        leave frames out, and some files declare no duration.
        """
        if self.reading_failed:
            return f"{decoded} frames could be read, then: {self.reading_failed}"
        declared_frames = self._stream.frames  # 0 if unknown
        if declared_frames and self._packets >= declared_frames:
            return None
        if self._declared_s is not None and math.isfinite(self._start_s):
            # In formats that declare a frame count, the duration starts at the first frame; in others, at time 0.
            origin = self._start_s if declared_frames else min(self._start_s, 0.0)
            if self._declared_s - (self._end_s - origin) <= self._tolerance_s:
                return None
            if not declared_frames:
                return f"{decoded} frames, {self._end_s:.2f} of {self._declared_s:.2f} s, are there"
        return f"{decoded} of {declared_frames} frames are there" if declared_frames else None


def gap_warning(times_s: Sequence[float]) -> str | None:
    """Return a warning if the longest pause between frames is unusually long compared with the others, else None.

    It is the only trace of lost frames in Matroska files and recorded streams. times_s: presentation times.
    """
    if len(times_s) < 4:
        return None
    pauses = np.diff(times_s)
    longest = int(pauses.argmax())
    usual_s = (times_s[-1] - times_s[0] - pauses[longest]) / (len(pauses) - 1)
    if pauses[longest] < max(0.25, 5 * usual_s):
        return None
    return (
        f"no frames for {pauses[longest]:.2f} s after {times_s[longest]:.2f} s (usually one every "
        f"{usual_s:.3f} s): either the frame rate varies, or the file is damaged there"
    )


def _declared_seconds(stream: VideoStream) -> float | None:
    """Return the declared duration of this stream; None if the file declares none for it."""
    if stream.duration and stream.time_base:
        return float(stream.duration * Fraction(stream.time_base))
    tag = stream.metadata.get("DURATION", "")  # Matroska: 00:00:02.400000000
    try:
        hours, minutes, seconds = (float(part) for part in tag.split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
