"""Draw masks and object ids over frames, in colours that show, and write the overlay video."""

import numpy as np

from ..io.opencv import opencv
from ..io.palette import visible_colours
from .protocol import OUTPUTS, Item, VideoDetails
from .video_output import VideoOutput

DRAWN = "overlay and preview are drawn with"  # start of the error message if OpenCV is missing
LONG_SIDE, SHORT_SIDE = 1920, 1080  # px; larger frames are scaled down to this for review
ALPHA = 0.45  # opacity of the tint
MIN_DISTANCE = 60.0  # in CIE Lab, between the mean colour of an object's pixels and the colour it is drawn in
MIN_LABELLED_SHARE = 1 / 4000  # of the picture; smaller objects get no id label
FALLBACK_COLOURS = np.array(
    [
        (255, 45, 130), (0, 200, 255), (255, 220, 0), (70, 230, 70),
        (150, 90, 255), (255, 130, 0), (0, 90, 255), (255, 40, 40),
    ],
    np.uint8,
)  # fmt: skip


@OUTPUTS.register("overlay")
class OverlayVideo(VideoOutput):
    """A video of all frames with their masks drawn over them; frames larger than 1080p are scaled down."""

    path = "overlay/{video}.mp4"

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        self.colours = ObjectColours(video.palette)
        opencv(DRAWN)

    def draw(self, item: Item) -> np.ndarray:
        image, mask = shrink(item.frame.image, item.mask)
        self.colours.update(image, mask)
        picture = tint(image, mask, self.colours.table)
        write_ids(picture, mask)
        return picture


class ObjectColours:
    """The drawing colours of a video's objects, chosen when an object first appears and constant from then on.

    An object gets its palette colour, unless that is too similar to the mean colour of the object's own pixels (red
    is invisible on a red car). Then it gets the fallback colour that differs most from its pixels and from the
    colours of the other objects.

    Attributes:
        table: (256, 3) uint8 RGB by object id, see `visible_colours`.
        seen: Ids of the objects whose colour is chosen.
    """

    def __init__(self, palette: bytes | None) -> None:
        self.table = visible_colours(palette)
        self.seen: set[int] = set()

    def update(self, image: np.ndarray, mask: np.ndarray) -> None:
        """Choose colours for new objects in a frame; image: (H, W, 3) uint8 RGB, mask: (H, W) uint8 ids."""
        present = np.flatnonzero(np.bincount(mask.ravel())).tolist()
        for object_id in sorted({*present} - self.seen - {0}):
            mean = image[mask == object_id].mean(0).round().astype(np.uint8)
            own, drawn = lab(mean[None]), lab(self.table[object_id][None])
            if np.linalg.norm(own - drawn) < MIN_DISTANCE:
                to_avoid = np.concatenate([own, *(lab(self.table[other][None]) for other in self.seen)])
                distances = np.linalg.norm(lab(FALLBACK_COLOURS)[:, None] - to_avoid[None], axis=2).min(1)
                self.table[object_id] = FALLBACK_COLOURS[distances.argmax()]
            self.seen.add(object_id)


def lab(colours: np.ndarray) -> np.ndarray:
    """Convert (N, 3) uint8 RGB to CIE Lab, (N, 3) float32."""
    cv2 = opencv(DRAWN)
    converted: np.ndarray = cv2.cvtColor((colours[None] / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    return converted


def tint(image: np.ndarray, mask: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return a copy of an image with every object tinted in its colour and outlined.

    The inner contour of each object is drawn in a lighter shade of its colour; the background along it is darkened.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 object ids.
        colours: (256, 3) uint8 RGB by object id, see `visible_colours`.
    """
    cv2 = opencv(DRAWN)
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

    paint(colours, ALPHA, inside)
    paint(lightened, 0.9, inside & rim)
    paint(np.zeros_like(colours), 0.5, ~inside & rim)
    return drawn


def write_ids(picture: np.ndarray, mask: np.ndarray) -> None:
    """Draw the id of each object at its centroid into `picture` (H, W, 3) uint8; very small objects are skipped."""
    cv2 = opencv(DRAWN)
    height, width = mask.shape
    scale = max(0.4, min(height, width) / 650)
    thickness = max(1, round(1.6 * scale))
    areas = np.bincount(mask.ravel(), minlength=256)
    areas[0] = 0
    for object_id in np.flatnonzero(areas >= max(30, MIN_LABELLED_SHARE * mask.size)).tolist():
        shape = (mask == object_id).view(np.uint8)
        moments = cv2.moments(shape, binaryImage=True)
        x, y = round(moments["m10"] / moments["m00"]), round(moments["m01"] / moments["m00"])
        if not shape[y, x]:  # the centroid of a ring or an arc lies outside of it
            y, x = np.unravel_index(cv2.distanceTransform(shape, cv2.DIST_L2, 3).argmax(), shape.shape)
        text, font = str(object_id), cv2.FONT_HERSHEY_SIMPLEX
        (text_width, text_height), _ = cv2.getTextSize(text, font, scale, thickness)
        origin = (
            int(np.clip(x - text_width // 2, 1, max(1, width - text_width - 1))),
            int(np.clip(y + text_height // 2, text_height + 1, height - 1)),
        )
        for colour, extra in (((0, 0, 0), 2), ((255, 255, 255), 0)):  # white with a black outline
            cv2.putText(picture, text, origin, font, scale, colour, thickness + extra, cv2.LINE_AA)


def shrink(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale image and mask down to fit into 1920 x 1080 or 1080 x 1920; return them unchanged if they fit."""
    height, width = mask.shape
    return resized(image, mask, min(1.0, LONG_SIDE / max(height, width), SHORT_SIDE / min(height, width)))


def resized(image: np.ndarray, mask: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Scale an image (area or linear interpolation) and its mask (nearest) by `factor`, to at least 1 x 1 px."""
    if factor == 1:
        return image, mask
    cv2 = opencv(DRAWN)
    height, width = mask.shape
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=smooth), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
