"""Colours and id labels that distinguish objects in overlays."""

import numpy as np

from ..io.opencv import opencv
from ..io.palette import visible_colours

MIN_DISTANCE = 60.0  # in CIE Lab, between the mean colour of an object's pixels and the colour it is drawn in
MIN_LABELLED_SHARE = 1 / 4000  # of the picture; smaller objects get no id label
FALLBACK_COLOURS = np.array(
    [
        (255, 45, 130), (0, 200, 255), (255, 220, 0), (70, 230, 70),
        (150, 90, 255), (255, 130, 0), (0, 90, 255), (255, 40, 40),
    ],
    np.uint8,
)  # fmt: skip


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
        areas = np.bincount(mask.ravel(), minlength=256)
        for object_id in np.flatnonzero(areas).tolist():
            if object_id == 0 or object_id in self.seen:
                continue
            mean = image[mask == object_id].mean(0).round().astype(np.uint8)
            own, drawn = lab(mean[None]), lab(self.table[object_id][None])
            if np.linalg.norm(own - drawn) < MIN_DISTANCE:
                others = lab(self.table[sorted(self.seen)]) if self.seen else np.empty((0, 3))
                to_avoid = np.concatenate([own, others])
                distances = np.linalg.norm(lab(FALLBACK_COLOURS)[:, None] - to_avoid[None], axis=2).min(1)
                self.table[object_id] = FALLBACK_COLOURS[distances.argmax()]
            self.seen.add(object_id)


def lab(colours: np.ndarray) -> np.ndarray:
    """Convert (N, 3) uint8 RGB to CIE Lab, (N, 3) float32."""
    cv2 = opencv("overlay and preview are drawn with")
    converted: np.ndarray = cv2.cvtColor((colours[None] / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    return converted


def write_ids(picture: np.ndarray, mask: np.ndarray) -> None:
    """Draw the id of each object at its centroid into `picture` (H, W, 3) uint8; very small objects are skipped."""
    cv2 = opencv("overlay and preview are drawn with")
    height, width = mask.shape
    scale = max(0.4, min(height, width) / 650)
    thickness = max(1, round(1.6 * scale))
    areas = np.bincount(mask.ravel(), minlength=256)
    for object_id in np.flatnonzero(areas >= max(30, MIN_LABELLED_SHARE * mask.size)).tolist():
        if object_id == 0:
            continue
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
