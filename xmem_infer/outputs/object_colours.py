"""How objects are told apart in a drawn picture: colours that stand out from what they cover, and ids."""

import numpy as np

from ..io.opencv import opencv
from ..io.palette import visible_colours

LEAST_DISTANCE = 60.0  # in CIE Lab, between an object's own colour and the one it is drawn in
LEAST_NAMED = 1 / 4000  # share of the picture; smaller objects get no number
SPARE = np.array(
    [
        (255, 45, 130), (0, 200, 255), (255, 220, 0), (70, 230, 70),
        (150, 90, 255), (255, 130, 0), (0, 90, 255), (255, 40, 40),
    ],
    np.uint8,
)  # fmt: skip


class ObjectColours:
    """The colours of a video's objects, each chosen where the object appears first and kept from there.

    An object has the colour of the palette, unless that is too near to the mean colour of the object's own pixels (red
    on a red car shows nothing). Then it has the spare colour furthest from them and from the colours of the others.

    Attributes:
        table: (256, 3) uint8 RGB by object id, see `visible_colours`.
    """

    def __init__(self, palette: bytes | None) -> None:
        self.table = visible_colours(palette)
        self.seen: set[int] = set()

    def see(self, image: np.ndarray, mask: np.ndarray) -> None:
        """Choose colours for the objects that appear in this frame: (H, W, 3) and (H, W) uint8."""
        areas = np.bincount(mask.ravel(), minlength=256)
        for object_id in np.flatnonzero(areas).tolist():
            if object_id == 0 or object_id in self.seen:
                continue
            mean = image[mask == object_id].mean(0).round().astype(np.uint8)
            own, drawn = lab(mean[None]), lab(self.table[object_id][None])
            if np.linalg.norm(own - drawn) < LEAST_DISTANCE:
                others = lab(self.table[sorted(self.seen)]) if self.seen else np.empty((0, 3))
                apart = np.linalg.norm(lab(SPARE)[:, None] - np.concatenate([own, others])[None], axis=2).min(1)
                self.table[object_id] = SPARE[apart.argmax()]
            self.seen.add(object_id)


def lab(colours: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 RGB in CIE Lab: (N, 3) float32."""
    cv2 = opencv("overlay and preview are drawn with")
    converted: np.ndarray = cv2.cvtColor((colours[None] / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    return converted


def write_ids(picture: np.ndarray, mask: np.ndarray) -> None:
    """Write the id of each object at its middle into `picture` (H, W, 3) uint8; specks are left out."""
    cv2 = opencv("overlay and preview are drawn with")
    height, width = mask.shape
    scale = max(0.4, min(height, width) / 650)
    thick = max(1, round(1.6 * scale))
    areas = np.bincount(mask.ravel(), minlength=256)
    for object_id in np.flatnonzero(areas >= max(30, LEAST_NAMED * mask.size)).tolist():
        if object_id == 0:
            continue
        shape = (mask == object_id).view(np.uint8)
        moments = cv2.moments(shape, binaryImage=True)
        x, y = round(moments["m10"] / moments["m00"]), round(moments["m01"] / moments["m00"])
        if not shape[y, x]:  # the middle of a ring or a bow is outside of it
            y, x = np.unravel_index(cv2.distanceTransform(shape, cv2.DIST_L2, 3).argmax(), shape.shape)
        (wide, high), _ = cv2.getTextSize(str(object_id), cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        at = (
            int(np.clip(x - wide // 2, 1, max(1, width - wide - 1))),
            int(np.clip(y + high // 2, high + 1, height - 1)),
        )
        for shade, extra in (((0, 0, 0), 2), ((255, 255, 255), 0)):
            cv2.putText(picture, str(object_id), at, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, thick + extra, cv2.LINE_AA)
