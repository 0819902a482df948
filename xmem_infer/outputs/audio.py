"""Copy the audio of a source video into an output video."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer

ENCODERS = {"aac": "aac", "opus": "libopus"}  # FFmpeg's encoder of each codec to which audio may be converted
OPUS_RATE = 48_000  # samples per second; every Opus encoder supports it


class AudioTrack:
    """The first audio stream of a file, written in pieces interleaved with the video frames of the same time.

    Raises av.FFmpegError if the file or its audio cannot be read.
    """

    def __init__(self, source: Path, output: OutputContainer, kept: Sequence[str]) -> None:
        """Open `source` and add its audio stream, if it has one, to `output`, before the first video frame is written.

        kept: codecs that are copied without re-encoding; audio of any other codec is converted to kept[0].
        """
        self.output = output
        self.waiting: Any = None
        self.packets: Iterator[Any] = iter(())
        self.container = av.open(f"file:{source.absolute()}", options={"protocol_whitelist": "file"})
        self.stream = next(iter(self.container.streams.audio), None)
        if self.stream is None:
            return
        context = self.stream.codec_context
        if context.name in kept:
            self.target: Any = output.add_stream_from_template(self.stream)
            self.packets = self.container.demux(self.stream)
        else:
            rate = OPUS_RATE if kept[0] == "opus" else context.sample_rate
            self.target = output.add_stream(ENCODERS[kept[0]], rate=rate)
            self.target.codec_context.layout = "mono" if context.layout.nb_channels == 1 else "stereo"
            self.packets = self._encoded()

    def _encoded(self) -> Iterator[Any]:
        context = self.target.codec_context
        resampler = av.AudioResampler(format=context.format or "fltp", layout=context.layout, rate=context.sample_rate)
        frames: Iterator[Any] = chain(self.container.decode(self.stream), [None])
        for frame in frames:
            for piece in resampler.resample(frame):
                yield from self.target.encode(piece)
        yield from self.target.encode(None)

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
            if packet.pts < shift:
                continue
            packet.pts -= shift
            packet.dts = packet.pts
            packet.stream = self.target
            self.output.mux(packet)

    def close(self) -> None:
        """Close the source."""
        self.container.close()
