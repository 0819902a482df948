"""Draw masks over frames, and write the overlay video."""

import numpy as np

from ..io.opencv import opencv
from .object_colours import ObjectColours, write_ids
from .protocol import OUTPUTS, Item, VideoDetails
from .video_output import VideoOutput

LONG_SIDE, SHORT_SIDE = 1920, 1080  # px; larger frames are scaled down to this for review


def tint(image: np.ndarray, mask: np.ndarray, colours: np.ndarray, alpha: float = 0.45) -> np.ndarray:
    """Return a copy of an image with every object tinted in its colour and outlined.

    The inner contour of each object is drawn in a lighter shade of its colour; the background along it is darkened.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 object ids.
        colours: (256, 3) uint8 RGB by object id, see `visible_colours`.
        alpha: Opacity of the tint, 0 to 1.
    """
    cv2 = opencv("overlay and preview are drawn with")
    drawn = image.copy()
    if not mask.any():
        return drawn
    rim_px = max(1, round(min(mask.shape) / 400))
    left, top, width, height = cv2.boundingRect(mask)  # nothing changes outside of this box and its rim
    box = (
        slice(max(0, top - rim_px), top + height + rim_px),
        slice(max(0, left - rim_px), left + width + rim_px),
    )
    image, mask = image[box], np.ascontiguousarray(mask[box])
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    rim = cv2.dilate(mask, cross, iterations=rim_px) != cv2.erode(mask, cross, iterations=rim_px)
    inside = mask > 0
    lightened = ((colours.astype(np.uint16) + 255) // 2).astype(np.uint8)

    def paint(shades: np.ndarray, opacity: float, pixels: np.ndarray) -> None:
        flat = cv2.LUT(cv2.merge([mask] * 3), shades.reshape(1, 256, 3))
        cv2.copyTo(cv2.addWeighted(image, 1 - opacity, flat, opacity, 0), pixels.view(np.uint8), drawn[box])

    paint(colours, alpha, inside)
    paint(lightened, 0.9, inside & rim)
    paint(np.zeros_like(colours), 0.5, ~inside & rim)
    return drawn


@OUTPUTS.register("overlay")
class OverlayVideo(VideoOutput):
    """A video of all frames with their masks drawn over them; frames larger than 1080p are scaled down."""

    path = "overlay/{video}.mp4"

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        self.colours = ObjectColours(video.palette)
        opencv("overlay and preview are drawn with")

    def draw(self, item: Item) -> np.ndarray:
        image, mask = shrink(item.frame.image, item.mask)
        self.colours.update(image, mask)
        picture = tint(image, mask, self.colours.table)
        write_ids(picture, mask)
        return picture


def shrink(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale image and mask down to fit into 1920 x 1080 or 1080 x 1920; return them unchanged if they fit."""
    height, width = mask.shape
    factor = min(1.0, LONG_SIDE / max(height, width), SHORT_SIDE / min(height, width))
    return resized(image, mask, factor)


def resized(image: np.ndarray, mask: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Scale an image (area or linear interpolation) and its mask (nearest) by `factor`, to at least 1 x 1 px."""
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
