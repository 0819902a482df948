"""Sequential decoding of video files with PyAV; random access is in `seeking`."""

from array import array
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..config import DataConfig, OnCorrupt
from ..errors import UsageError, VideoError
from ..types import Frame
from .corrupt import CorruptPolicy
from .images import TooManyPixels, refuse_large, size_words
from .listing import numbered_name
from .seeking import Seeker, upright
from .video_faults import DroppedFrames, Truncation, gap_warning

TEXT_CODECS = ("ansi", "bintext", "xbin", "idf")  # FFmpeg renders text files as video with these


class VideoFile:
    """The frames of a video file; the first frame is decoded at construction.

    Iteration yields each coded frame once, also at a variable frame rate, with `time_s` from its presentation
    timestamp. The rotation of the display matrix is applied. A damaged or lost frame, or a missing end of the file,
    raises an error or is replaced and reported, depending on data.on_corrupt. Damage that the decoder conceals
    silently (it can spread up to the next keyframe) is not detected.

    Raises:
        UsageError: There is no such file.
        VideoError: The file is not a video, exceeds data.max_pixels, changes its frame size or is corrupt.
    """

    stems: list[str] | None = None
    incomplete = False

    def __init__(self, path: str | Path, data: DataConfig):
        self._path = Path(path)
        if not self._path.is_file():
            raise UsageError(f"{path} {'is not a file' if self._path.exists() else 'does not exist'}")
        if data.range is not None:
            raise UsageError(f"data.range={data.range} can only be used with 16-bit images; {path} is a video file")
        self._data, self.on_corrupt = data, data.on_corrupt
        self.name = self._path.stem
        self.warnings: list[str] = []
        self._length: int | None = None
        with self.open() as container:
            stream = self.stream(container)
            self.count: int | None = stream.frames or None
            rate = stream.average_rate or stream.guessed_rate
            self.fps: float | None = float(rate) if rate else None
            self.size = self._first_size(container, stream)

    def open(self) -> InputContainer:
        """Open a new container for the file. Raises VideoError."""
        if self._path.stat().st_size == 0:
            raise VideoError(f"{self._path} is empty (0 bytes)")
        # "file:" keeps FFmpeg from taking a file name for a URL, and with the whitelist a playlist in the file can
        # reach local files only. max_pixels also limits the frames that FFmpeg decodes while opening; it is doubled
        # because FFmpeg counts the padding of coded frames.
        options = {"protocol_whitelist": "file", "max_pixels": str(2 * self._data.max_pixels)}
        try:
            return av.open(f"file:{self._path}", options=options)
        except av.FFmpegError as error:
            if isinstance(error, OSError):  # for example a missing permission or a failing disk
                raise VideoError(f"{self._path} cannot be opened: {error.strerror}") from error
            raise VideoError(
                f"{self._path} is not a video, or one that was cut off before its index was written "
                f"(a recording that was interrupted, a download that is not finished): {error.strerror}"
            ) from error

    def stream(self, container: InputContainer) -> VideoStream:
        """Return the first video stream that is not cover art, set up for decoding. Raises VideoError."""
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            kinds = ", ".join(sorted(s.type for s in container.streams)) or "none at all"
            raise VideoError(f"{self._path} has no video stream (its streams: {kinds})")
        stream = streams[0]
        context = stream.codec_context
        if context is None:
            raise VideoError(f"{self._path}: this build of FFmpeg has no decoder for its video stream")
        if context.name in TEXT_CODECS:
            raise VideoError(f"{self._path} is a text file, not a video")
        size = (context.height, context.width)
        if 0 in size:
            raise VideoError(
                f"{self._path} does not tell its frame size, or it is over data.max_pixels="
                f"{self._data.max_pixels:,}; if the file is sound, raise data.max_pixels"
            )
        try:
            refuse_large(size, self._data.max_pixels)
        except TooManyPixels as error:
            raise VideoError(f"{self._path} {error}") from error
        context.options = {"max_pixels": str(2 * self._data.max_pixels)}
        stream.thread_type = "AUTO"
        return stream

    def _first_size(self, container: InputContainer, stream: VideoStream) -> tuple[int, int]:
        policy = CorruptPolicy(self.name, OnCorrupt.fail, [])
        for frame in self._frames(container, stream, policy):
            return frame.image.shape[0], frame.image.shape[1]
        raise VideoError(f"{self._path} has a video stream, but not one frame of it can be decoded; it may be cut off")

    def __iter__(self) -> Iterator[Frame]:
        self.warnings.clear()
        policy = CorruptPolicy(self.name, self.on_corrupt, self.warnings)
        times_s = array("d")
        with self.open() as container:
            for frame in self._frames(container, self.stream(container), policy):
                if frame.time_s is not None:
                    times_s.append(frame.time_s)
                yield self.checked(frame)
        if warning := gap_warning(times_s):
            self.warnings.append(warning)

    def __len__(self) -> int:
        self._length = self._length or self.count or len(self._seeker)
        return self._length

    def __getitem__(self, index: int) -> Frame:
        try:
            if index < 0:
                raise IndexError(index)
            return self._seeker[index]
        except IndexError:
            if 0 <= index < (self.count or 0):
                raise VideoError(
                    f"{self.name}: frame {index} is not there: the file ends early, though it says to have {self.count}"
                ) from None
            raise IndexError(f"{self.name} has no frame {index}") from None

    @cached_property
    def _seeker(self) -> Seeker:
        return Seeker(self)

    def checked(self, frame: Frame) -> Frame:
        """Return `frame` unchanged. Raises VideoError if its size differs from that of the first frame."""
        if frame.image.shape[:2] != self.size:
            raise VideoError(
                f"{self.name}: from frame {frame.name} on the picture is {size_words(frame.image.shape)}, before it "
                f"was {size_words(self.size)}; a video needs one size"
            )
        return frame

    def _frames(self, container: InputContainer, stream: VideoStream, policy: CorruptPolicy) -> Iterator[Frame]:
        dropped = DroppedFrames(stream.codec_context, container.format.name)
        truncation = Truncation(container, stream)
        index = 0

        def seconds(pts: int | None) -> float | None:
            return None if pts is None or stream.time_base is None else float(pts * stream.time_base)

        def lost(reason: str, pts: int | None) -> Frame:
            nonlocal index
            time_s, name = seconds(pts), numbered_name(index, self.count)
            at = "" if time_s is None else f" ({time_s:.3f} s)"
            frame = policy.corrupt(f"frame {name}{at}", index, name, reason, time_s)
            index += 1
            return frame

        for decoded in _decode(container, stream, dropped, truncation):
            if isinstance(decoded, av.FFmpegError):
                if not dropped.active:  # otherwise `dropped` reports the frame, with its timestamp
                    yield lost(f"cannot be decoded ({decoded.strerror})", None)
                continue
            lost_before, damaged = dropped.received(decoded.pts)
            for pts in lost_before:
                yield lost("cannot be decoded", pts)
            if damaged or decoded.is_corrupt:
                yield lost("is damaged", decoded.pts)
                continue
            name = numbered_name(index, self.count)
            policy.last_readable = Frame(index, name, upright(decoded), seconds(decoded.pts))
            yield policy.last_readable
            index += 1
        if dropped.skipped:
            self.warnings.append(
                f"{dropped.skipped} coded frames before the first key frame cannot be shown: the file was cut there; "
                "the video begins at its key frame"
            )
        missing = truncation.missing(index)
        if missing is None:
            for pts in dropped.rest():
                yield lost("cannot be decoded", pts)
        elif index:
            message = f"the file ends early: {missing}"
            if self.on_corrupt is OnCorrupt.fail:
                raise VideoError(f"{self.name}: {message}. To take what is there, set data.on_corrupt=warn")
            self.warnings.append(message)
            self.incomplete = True


def _decode(
    container: InputContainer, stream: VideoStream, dropped: DroppedFrames, truncation: Truncation
) -> Iterator[VideoFrame | av.FFmpegError]:
    """Yield frames in presentation order, and decoding errors at the position where they occur."""
    try:
        for packet in container.demux():
            if packet.size == 0:  # the flush packet at the end of a stream
                continue
            truncation.record(packet)
            if packet.stream_index != stream.index:
                continue
            dropped.sent(packet)
            try:
                yield from stream.decode(packet)
            except av.FFmpegError as error:
                yield error
    except av.FFmpegError as error:
        truncation.reading_failed = error.strerror or "unknown error"
    while True:
        try:
            frames = stream.decode(None)
        except av.FFmpegError:  # the decoder is flushed; `dropped` reports the frames that it lost
            return
        if not frames:
            return
        yield from frames
