"""Base class of outputs that encode a video, with the timestamps and the audio of the source."""

import logging
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from ..errors import EnvironmentFault
from .protocol import FALLBACK_FPS, Item, Output, VideoDetails

log = logging.getLogger(__name__)

TICKS = 90_000  # units of the time base per second, as in MPEG: precise enough for any source
BT709 = 1  # code of the BT.709 primaries, transfer function and matrix in the H.264 tables
AUDIO_ENCODERS = {"aac": "aac", "opus": "libopus"}  # FFmpeg's encoder of each codec to which audio may be converted
OPUS_RATE = 48_000  # samples per second; every Opus encoder supports it


class VideoOutput(Output):
    """A video file; by default H.264 in MP4, playable in browsers: yuv420p, BT.709, index at the start of the file.

    Odd widths and heights are padded by one repeated pixel. Timestamps are those of the frames, relative to the
    first one; frames without timestamps are spaced by `fps` (24 if unknown). The audio of a source file is copied,
    or converted if the format does not support its codec.

    Attributes:
        container_format: FFmpeg's name of the container format.
        codec: FFmpeg's name of the encoder.
        pixels: Pixel format of the encoded video; with an alpha channel, `draw` returns RGBA.
        options: Options of the encoder.
        sound_codecs: Audio codecs that are copied without re-encoding; others are converted to the first one.

    Raises:
        EnvironmentFault: This build of PyAV lacks the encoder.
    """

    container_format = "mp4"
    codec = "libx264"
    pixels = "yuv420p"
    # A keyframe about every two seconds keeps seeking fast. The output is reproducible to the byte because the number
    # of threads is fixed and mbtree is off, whose SIMD code reads uninitialised memory for small pictures.
    options: ClassVar[dict[str, str]] = {"preset": "veryfast", "crf": "20", "g": "48", "x264-params": "mbtree=0"}
    sound_codecs: tuple[str, ...] = ("aac", "mp3", "opus", "flac", "alac", "ac3")

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        self.source = video.source
        self.audio: AudioTrack | None = None
        fps = video.fps or 0.0
        self.fps = fps if 0.1 <= fps <= 1000 else FALLBACK_FPS  # other values come from a broken header
        self.container: OutputContainer | None = None
        self.start_s: float | None = None
        self.last_tick = -1
        if self.codec not in av.codecs_available:
            raise EnvironmentFault(
                f"this build of PyAV has no encoder {self.codec}, which {self.path} needs: "
                "`pip install --force-reinstall av` brings one, or go without (overlay: output.overlay=false)"
            )

    @abstractmethod
    def draw(self, item: Item) -> np.ndarray:
        """Return the picture of a frame: (H, W, 3) uint8 RGB, or (H, W, 4) RGBA if `pixels` has an alpha channel."""

    def write(self, item: Item) -> None:
        picture = even(self.draw(item))
        if self.container is None:
            self.open(width=picture.shape[1], height=picture.shape[0])
        frame = av.VideoFrame.from_ndarray(picture, format="rgba" if picture.shape[2] == 4 else "rgb24").reformat(
            format=self.pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts = self.last_tick = self.tick(item.frame.time_s)
        frame.time_base = Fraction(1, TICKS)
        self.mux(frame)
        self.write_audio(item.frame.time_s)

    def write_audio(self, time_s: float | None) -> None:
        """Write the audio up to `time_s` (source time), or all of it if None; if it is damaged, it ends early."""
        if self.audio is None or self.start_s is None:
            return
        try:
            self.audio.write_until(math.inf if time_s is None else time_s, self.start_s)
        except (av.FFmpegError, ValueError) as error:
            log.info(f"warning: {self.staged.final}: the sound of {self.source} ends early: {error}")
            self.close_audio()

    def tick(self, time_s: float | None) -> int:
        """Return the timestamp of the next frame in TICKS.

        If the source's timestamps repeat, go back or jump by more than an hour, the frame is placed 1 / `fps` after
        the previous one, and later timestamps are shifted accordingly.
        """
        by_rate = 0 if self.last_tick < 0 else self.last_tick + round(TICKS / self.fps)
        if time_s is None:
            return by_rate
        tick = -1 if self.start_s is None else round((time_s - self.start_s) * TICKS)
        if self.last_tick < tick <= self.last_tick + 3600 * TICKS:
            return tick
        self.start_s = time_s - by_rate / TICKS
        return by_rate

    def open(self, width: int, height: int) -> None:
        flags = {"movflags": "+faststart"} if self.container_format in ("mp4", "mov") else {}
        # An absolute path, because FFmpeg interprets the text before a colon as a protocol.
        self.container = av.open(str(self.staged.partial.absolute()), "w", format=self.container_format, options=flags)
        rate = Fraction(self.fps).limit_denominator(1001)
        # The cast is needed because PyAV's type stubs infer the stream's class from a literal codec name only.
        stream = cast(VideoStream, self.container.add_stream(self.codec, rate=rate))
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, self.pixels
        context.time_base = Fraction(1, TICKS)
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = ColorRange.MPEG
        context.options = self.options
        context.thread_count = 2
        self.stream = stream
        if self.source is not None:
            try:
                self.audio = AudioTrack(self.source, self.container, self.sound_codecs)
            except (av.FFmpegError, ValueError) as error:
                log.info(f"warning: {self.staged.final} is without the sound of {self.source}: {error}")

    def mux(self, frame: av.VideoFrame | None) -> None:
        assert self.container is not None
        for packet in self.stream.encode(frame):
            if not packet.duration:  # determines how long the last frame is shown
                packet.duration = round(TICKS / self.fps)
            self.container.mux(packet)

    def finish(self) -> None:
        if self.container is not None:
            self.mux(None)
            self.write_audio(None)
            self.close_audio()
            self.container.close()
            self.container = None

    def close_audio(self) -> None:
        if self.audio is not None:
            self.audio.container.close()
            self.audio = None

    def discard(self) -> None:
        self.close_audio()
        if self.container is not None:
            try:
                self.container.close()
            except (av.FFmpegError, OSError, ValueError):
                self.container = None  # the file is incomplete anyway, and is removed next
        super().discard()


def even(picture: np.ndarray) -> np.ndarray:
    """Pad (H, W, C) to even H and W by repeating the last row or column, because yuv420p halves both."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


class AudioTrack:
    """The first audio stream of a file, written in pieces interleaved with the video frames of the same time.

    Codecs in `kept` are copied without re-encoding, others are converted to kept[0]. The stream is added to `output` at
    once, before the first video frame is written. Raises av.FFmpegError if the file or its audio cannot be read.
    """

    def __init__(self, source: Path, output: OutputContainer, kept: Sequence[str]) -> None:
        self.output = output
        self.waiting: Any = None  # a packet for later frames
        self.packets: Iterator[Any] = iter(())
        self.container = av.open(f"file:{source.absolute()}", options={"protocol_whitelist": "file"})
        stream = next(iter(self.container.streams.audio), None)
        if stream is None:
            return
        context = stream.codec_context
        if context.name in kept:
            self.target: Any = output.add_stream_from_template(stream)
            self.packets = self.container.demux(stream)
        else:
            rate = OPUS_RATE if kept[0] == "opus" else context.sample_rate
            self.target = output.add_stream(AUDIO_ENCODERS[kept[0]], rate=rate)
            self.target.codec_context.layout = "mono" if context.layout.nb_channels == 1 else "stereo"
            frames = chain(self.container.decode(stream), [None])  # None: the end, which empties the encoder
            self.packets = chain.from_iterable(map(self.target.encode, frames))

    def write_until(self, time_s: float, start_s: float) -> None:
        """Write the audio up to `time_s` (source time); start_s: source time of the first video frame."""
        while (packet := self.waiting or next(self.packets, None)) is not None:
            self.waiting = None
            if packet.pts is None or packet.time_base is None:
                continue
            if float(packet.pts * packet.time_base) > time_s:
                self.waiting = packet
                return
            shift = round(Fraction(start_s) / packet.time_base)
            if packet.pts >= shift:
                packet.pts -= shift
                packet.dts = packet.pts
                packet.stream = self.target
                self.output.mux(packet)
