"""Bookkeeping of a video file: which coded frames never came out of the decoder, and whether the end is missing.

Decoders lose damaged frames silently (an error may be raised some frames later, or never), so packets going
in are compared with frames coming out, by presentation time.
"""

import heapq
from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

HIDDEN_FRAMES = ("vp8",)  # codecs whose packets may be pictures that are never shown
CAN_START_ANYWHERE = ("mpegts", "mpeg", "h264", "hevc", "mpegvideo", "m4v")  # formats that record a stream


class DroppedFrames:
    """Packets sent and not yet seen again as frames. Memory is that of the decoder's delay.

    Where times cannot be relied on it stands aside: `active` is False and nothing is reported lost. That is
    where they are missing, jump back, are not those of the packets, or where frames should come in another
    order than their packets and the times do not show it (AVI has coding times only). `reliable` tells whether packets
    have times that go on, and each is a frame that is shown.
    `skipped` counts coded frames in front of the first key frame's, left over from a cut; no decoder shows them.
    """

    def __init__(self, context: VideoCodecContext, container_format: str):
        self.reliable = context.name not in HIDDEN_FRAMES
        self._shows_order = not context.has_b_frames
        self.skipped = 0
        # Elsewhere the first packet is a key frame, also where damage has wiped out the mark.
        self._needs_key_mark = container_format in CAN_START_ANYWHERE
        self._pending: list[tuple[int, bool]] = []  # heap of (pts, packet marked damaged)
        self._key_pts: int | None = None
        self._last_dts: int | None = None
        self._delay: int | None = None

    @property
    def active(self) -> bool:
        return self.reliable and self._shows_order

    def sent(self, packet: Packet) -> None:
        """Note a packet on its way into the decoder."""
        pts, dts = packet.pts, packet.dts
        if pts is None or (dts is not None and self._last_dts is not None and dts < self._last_dts):
            self.reliable = False
        self._last_dts = dts
        if pts is None or not self.reliable or packet.is_discard:
            return
        delay = None if dts is None else pts - dts
        self._shows_order |= delay is None or self._delay not in (None, delay)
        self._delay = delay
        if self._key_pts is None and (packet.is_keyframe or not self._needs_key_mark):
            self._key_pts = pts
        if self._key_pts is None or pts < self._key_pts:
            self.skipped += 1
        else:
            heapq.heappush(self._pending, (pts, packet.is_corrupt))

    def received(self, pts: int | None) -> tuple[list[int], bool]:
        """Note a frame; gives the times of those lost before it, and whether its own packet was damaged."""
        own = [entry for entry in self._pending if entry[0] == pts]
        self.reliable &= bool(own)
        if self.active:
            return self._take_before(own[0][0]), heapq.heappop(self._pending)[1]
        if own:
            self._pending.remove(own[0])
            heapq.heapify(self._pending)
        return [], False

    def rest(self) -> list[int]:
        """Times of the frames that had not come out when the decoder was empty."""
        return self._take_before(None) if self.active else []

    def _take_before(self, pts: int | None) -> list[int]:
        taken = []
        while self._pending and (pts is None or self._pending[0][0] < pts):
            taken.append(heapq.heappop(self._pending)[0])
        return taken


class Truncation:
    """How long the file says it is, and how much of it came."""

    def __init__(self, container: InputContainer, stream: VideoStream):
        self._stream_index = stream.index
        self._declared_frames = stream.frames or None
        self._frame_s = float(1 / stream.average_rate) if stream.average_rate else 0.04
        own = _declared_seconds(stream)
        whole = float(container.duration / 1_000_000) if container.duration else None
        self._declared_s = min((s for s in (own, whole) if s is not None), default=None)
        self._by_stream = own is not None
        # What is declared for the whole file is rounded, and may be owed to another stream's last packet.
        self._tolerance_s = 0.5 * self._frame_s if self._declared_frames else 1.5 * self._frame_s
        if not self._by_stream:
            self._tolerance_s = max(self._tolerance_s, 0.5)
        self._start_s: float | None = None
        self._end_s = 0.0
        self._packets = 0
        self.reading_failed: str | None = None  # why reading stopped, where it was not the end of the file

    def seen(self, packet: Packet) -> None:
        """Note a packet of any stream."""
        own = packet.stream_index == self._stream_index
        self._packets += own
        at = packet.pts if packet.pts is not None else packet.dts
        if at is None or packet.time_base is None or (self._by_stream and not own):
            return
        start_s = float(at * packet.time_base)
        self._start_s = start_s if self._start_s is None else min(self._start_s, start_s)
        self._end_s = max(self._end_s, start_s + float((packet.duration or 0) * packet.time_base))

    def missing(self, decoded: int) -> str | None:
        """What is missing at the end, in words; None for a whole video.

        A count alone does not tell (edit lists leave frames out), nor do times where the file has none.
        """
        if self.reading_failed:
            return f"{decoded} frames could be read, then: {self.reading_failed}"
        if self._declared_frames and self._packets >= self._declared_frames:
            return None
        if self._declared_s is not None and self._start_s is not None:
            # Formats that count their frames also count time from the first; the others from zero.
            origin = self._start_s if self._declared_frames else min(self._start_s, 0.0)
            if self._declared_s - (self._end_s - origin) <= self._tolerance_s:
                return None
            if not self._declared_frames:
                return f"{decoded} frames, {self._end_s:.2f} of {self._declared_s:.2f} s, are there"
        return f"{decoded} of {self._declared_frames} frames are there" if self._declared_frames else None


class Gaps:
    """The longest time without a frame, to tell of frames that left no other trace (streams, Matroska)."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._last_s = self._longest_s = self._longest_at_s = 0.0
        self._frames = 0

    def seen(self, time_s: float | None) -> None:
        """Note the time of a frame."""
        if time_s is None:
            return
        if self._first_s is None:
            self._first_s = self._last_s = time_s
        if time_s - self._last_s > self._longest_s:
            self._longest_s, self._longest_at_s = time_s - self._last_s, self._last_s
        self._last_s = time_s
        self._frames += 1

    def remark(self) -> str | None:
        """One line where the longest pause stands out from the others, else None."""
        if self._first_s is None or self._frames < 4:
            return None
        usual_s = (self._last_s - self._first_s - self._longest_s) / (self._frames - 2)
        if self._longest_s < max(0.25, 5 * usual_s):
            return None
        return (
            f"no frames for {self._longest_s:.2f} s after {self._longest_at_s:.2f} s (usually one every "
            f"{usual_s:.3f} s): either the frame rate varies, or the file is damaged there"
        )


def _declared_seconds(stream: VideoStream) -> float | None:
    """Duration of this stream alone, where the file declares one."""
    if stream.duration and stream.time_base:
        return float(stream.duration * Fraction(stream.time_base))
    clock = stream.metadata.get("DURATION", "").split(":")  # Matroska tag, 00:00:02.400000000
    try:
        hours, minutes, seconds = (float(part) for part in clock)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
