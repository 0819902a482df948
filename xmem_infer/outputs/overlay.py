"""Masks drawn over pictures, and the review video made of them."""

import logging
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from ..errors import EnvironmentFault
from ..io.opencv import opencv
from .audio import AudioTrack
from .object_colours import ObjectColours, write_ids
from .protocol import OUTPUTS, Item, Output, VideoDetails

log = logging.getLogger(__name__)

LONG_SIDE, SHORT_SIDE = 1920, 1080  # px; larger frames are scaled down to this for review
TICKS = 90_000  # time stamps per second, the clock of MPEG: fine enough for any source
FALLBACK_FPS = 24.0  # folders of frames have no clock; 24 is DAVIS's
BT709 = 1  # code of the bt709 primaries, transfer function and matrix in the H.264 tables


def tint(image: np.ndarray, mask: np.ndarray, colours: np.ndarray, alpha: float = 0.45) -> np.ndarray:
    """A copy of `image` (H, W, 3) uint8 with every object in its colour and a contour around it.

    mask: (H, W) uint8. colours: (256, 3) uint8, see `visible_colours`. Inside, `alpha` of the colour is
    mixed in; the rim of each object is its colour lightened, the rim of the background darkened.
    """
    cv2 = opencv("overlay and preview are drawn with")
    drawn = image.copy()
    if not mask.any():
        return drawn
    rim_px = max(1, round(min(mask.shape) / 400))
    left, top, width, height = cv2.boundingRect(mask)  # everything beyond it and its rim stays as it is
    box = (
        slice(max(0, top - rim_px), top + height + rim_px),
        slice(max(0, left - rim_px), left + width + rim_px),
    )
    image, mask = image[box], np.ascontiguousarray(mask[box])
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    highest = cv2.dilate(mask, cross, iterations=rim_px)
    rim = highest != cv2.erode(mask, cross, iterations=rim_px)
    inside = mask > 0
    lightened = ((colours.astype(np.uint16) + 255) // 2).astype(np.uint8)

    def paint(shade: np.ndarray, share: float, where: np.ndarray) -> None:
        flat = cv2.LUT(cv2.merge([mask] * 3), shade.reshape(1, 256, 3))
        cv2.copyTo(cv2.addWeighted(image, 1 - share, flat, share, 0), where.view(np.uint8), drawn[box])

    paint(colours, alpha, inside)
    paint(lightened, 0.9, inside & rim)
    paint(np.zeros_like(colours), 0.5, ~inside & rim)
    return drawn


@OUTPUTS.register("overlay")
class OverlayVideo(Output):
    """H.264 in MP4 that browsers play: yuv420p, even sizes, bt709, index in front.

    Odd sizes gain one repeated pixel, frames beyond 1080p are scaled down. Time stamps are the frames' own, counted
    from the first one; the sound of a video file goes along. Frames without a clock follow at `fps` (24 where None).
    Raises EnvironmentFault where PyAV has no H.264 encoder.
    """

    path = "overlay/{video}.mp4"

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        self.colours = ObjectColours(video.palette)
        self.source = video.source
        self.audio: AudioTrack | None = None
        fps = video.fps or 0.0
        self.fps = fps if 0.1 <= fps <= 1000 else FALLBACK_FPS  # beyond it: a broken header
        self.container: av.container.OutputContainer | None = None
        self.start_s: float | None = None
        self.last_tick = -1
        opencv("overlay and preview are drawn with")
        if "libx264" not in av.codecs_available:
            raise EnvironmentFault(
                "this build of PyAV has no H.264 encoder (libx264), which overlay videos need: "
                "`pip install --force-reinstall av` brings one, or go without: output.overlay=false"
            )

    def write(self, item: Item) -> None:
        image, mask = shrink(item.frame.image, item.mask)
        self.colours.see(image, mask)
        picture = tint(image, mask, self.colours.table)
        write_ids(picture, mask)
        picture = even(picture)
        if self.container is None:
            self.open(width=picture.shape[1], height=picture.shape[0])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts = self.last_tick = self.tick(item.frame.time_s)
        frame.time_base = Fraction(1, TICKS)
        self.mux(frame)
        self.sound(item.frame.time_s)

    def sound(self, time_s: float | None) -> None:
        """Write the sound up to a time of the source, None: all of it. Sound that cannot be read ends there."""
        if self.audio is None or self.start_s is None:
            return
        try:
            self.audio.write_until(math.inf if time_s is None else time_s, self.start_s)
        except (av.FFmpegError, ValueError) as error:
            log.info(f"warning: {self.staged.final}: the sound of {self.source} ends early: {error}")
            self.audio.close()
            self.audio = None

    def tick(self, time_s: float | None) -> int:
        """Time stamp of the next frame. Where the source's clock stands still, goes back or leaps by more than
        an hour, the frame follows the one before at `fps` and the clock counts on from there."""
        follows = 0 if self.last_tick < 0 else self.last_tick + round(TICKS / self.fps)
        if time_s is None:
            return follows
        tick = -1 if self.start_s is None else round((time_s - self.start_s) * TICKS)
        if self.last_tick < tick <= self.last_tick + 3600 * TICKS:
            return tick
        self.start_s = time_s - follows / TICKS
        return follows

    def open(self, width: int, height: int) -> None:
        # An absolute path, since FFmpeg takes what stands before a colon for a protocol
        self.container = av.open(
            str(self.staged.partial.absolute()), "w", format="mp4", options={"movflags": "+faststart"}
        )
        stream = self.container.add_stream("libx264", rate=Fraction(self.fps).limit_denominator(1001))
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = Fraction(1, TICKS)
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = ColorRange.MPEG
        # A key frame every two seconds or so keeps seeking quick. Fixed threads keep the bytes reproducible; so does
        # going without mbtree, whose vector code lets what lay in memory before decide a small picture's bit rate.
        context.options = {"preset": "veryfast", "crf": "20", "g": "48", "x264-params": "mbtree=0"}
        context.thread_count = 2
        self.stream = stream
        if self.source is not None:
            self.open_sound(self.source)

    def open_sound(self, source: Path) -> None:
        assert self.container is not None
        try:
            audio = AudioTrack(source)
            if audio.stream is not None:
                audio.open(self.container)
                self.audio = audio
        except (av.FFmpegError, ValueError) as error:
            log.info(f"warning: {self.staged.final} is without the sound of {source}: {error}")

    def mux(self, frame: av.VideoFrame | None) -> None:
        assert self.container is not None
        for packet in self.stream.encode(frame):
            if not packet.duration:  # decides how long the last frame stays on screen
                packet.duration = round(TICKS / self.fps)
            self.container.mux(packet)

    def finish(self) -> None:
        if self.container is not None:
            self.mux(None)
            self.sound(None)
            self.close_sound()
            self.container.close()
            self.container = None

    def close_sound(self) -> None:
        if self.audio is not None:
            self.audio.close()
            self.audio = None

    def discard(self) -> None:
        self.close_sound()
        if self.container is not None:
            try:
                self.container.close()
            except (OSError, ValueError):
                self.container = None  # unfinished on purpose; the file is removed next
        super().discard()


def shrink(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both scaled down to fit 1920 x 1080 or 1080 x 1920; unchanged where they do."""
    height, width = mask.shape
    factor = min(1.0, LONG_SIDE / max(height, width), SHORT_SIDE / min(height, width))
    return resized(image, mask, factor)


def resized(image: np.ndarray, mask: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Image (area or linear) and mask (nearest) scaled by `factor`, at least one pixel each way."""
    if factor == 1:
        return image, mask
    cv2 = opencv("overlay and preview are drawn with")
    height, width = mask.shape
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return (
        cv2.resize(image, size, interpolation=smooth),
        cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST),
    )


def even(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) with H and W made even by repeating the last row or column: yuv420p halves both."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
