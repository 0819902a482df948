"""Export formats made of images: palette PNG, cut-outs and videos with alpha, green screen, overlay."""

import io
from typing import ClassVar

import numpy as np
from PIL import Image

from ..outputs.files import FrameFolder, MaskFolder
from ..outputs.overlay import OverlayVideo
from ..outputs.protocol import Item
from ..outputs.video_output import VideoOutput
from .protocol import EXPORTERS, Exporter

GREEN = (0, 255, 0)


class PaletteFolder(MaskFolder):
    """Masks in the format of DAVIS and YouTube-VOS: palette PNG whose values are the object ids."""

    path = "palette/{video}"


class CutOutFolder(FrameFolder):
    """RGBA PNG that shows the objects and is transparent black elsewhere."""

    path = "cutout_png/{video}"
    suffix = ".png"

    def encode(self, item: Item) -> bytes:
        png = io.BytesIO()
        Image.fromarray(with_alpha(item) * (item.mask > 0)[..., None]).save(png, "PNG", compress_level=3)
        return png.getvalue()


class ProRes(VideoOutput):
    """ProRes 4444 in MOV: the whole frames, with the objects as alpha channel (straight alpha, stored losslessly)."""

    path = "prores4444/{video}.mov"
    container_format = "mov"
    codec = "prores_ks"
    pixels = "yuva444p10le"
    options: ClassVar[dict[str, str]] = {"profile": "4444", "vendor": "apl0", "alpha_bits": "16"}
    sound_codecs = ("aac", "mp3", "alac", "ac3")

    def draw(self, item: Item) -> np.ndarray:
        return with_alpha(item)


class WebmAlpha(VideoOutput):
    """VP9 with alpha in WebM, playable in browsers: the whole frames, with the objects as (lossy) alpha channel."""

    path = "webm_alpha/{video}.webm"
    container_format = "webm"
    codec = "libvpx-vp9"
    pixels = "yuva420p"
    options: ClassVar[dict[str, str]] = {
        "crf": "24", "b": "0", "deadline": "good", "cpu-used": "5", "auto-alt-ref": "0", "g": "48",
    }  # fmt: skip
    sound_codecs = ("opus", "vorbis")

    def draw(self, item: Item) -> np.ndarray:
        return with_alpha(item)


class GreenScreen(VideoOutput):
    """The objects in front of pure green, H.264 in MP4."""

    path = "green_screen/{video}.mp4"

    def draw(self, item: Item) -> np.ndarray:
        return np.where((item.mask > 0)[..., None], item.frame.image, np.array(GREEN, np.uint8))


def with_alpha(item: Item) -> np.ndarray:
    """Return the frame as (H, W, 4) uint8 RGBA, with alpha 255 on objects and 0 elsewhere."""
    return np.dstack([item.frame.image, (item.mask > 0).view(np.uint8) * 255])


EXPORTERS.register("overlay")(Exporter("Overlay, MP4", OverlayVideo, draws=True))
EXPORTERS.register("cutout_png")(Exporter("Cut-outs, PNG with alpha", CutOutFolder, draws=True))
EXPORTERS.register("prores4444")(Exporter("Cut-out video, ProRes 4444", ProRes, draws=True))
EXPORTERS.register("webm_alpha")(Exporter("Cut-out video, WebM", WebmAlpha, draws=True))
EXPORTERS.register("green_screen")(Exporter("Green screen, MP4", GreenScreen, draws=True))
EXPORTERS.register("palette")(Exporter("Masks, palette PNG (DAVIS, YouTube-VOS)", PaletteFolder))
