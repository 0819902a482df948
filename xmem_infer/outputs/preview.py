"""The preview of a video: a dozen frames spread over it, with their masks, on one contact sheet."""

from typing import NamedTuple

import numpy as np

from ..engine.drift import DriftSummary, describe_briefly
from ..io.listing import counted
from ..io.opencv import opencv
from .object_colours import ObjectColours, write_ids
from .overlay import resized, shrink, tint
from .protocol import OUTPUTS, Item, Output, VideoDetails
from .sheet import ACCENT, Cell, contact_sheet, picture_scale

FRAMES = 12  # pictures on a sheet
SLOTS = 48  # thumbnails held while the video runs; more of them spread the chosen ones more evenly


class Thumb(NamedTuple):
    """A drawn frame; position counts the frames of the video from 0."""

    position: int
    cell: Cell


class EvenSample:
    """Thumbnails spread evenly over a stream of unknown length, never more than SLOTS.

    Every `stride`-th frame is kept; when the slots are full every second one goes and the stride doubles.
    count: the number of frames to come where known; only a hint that saves drawing thumbnails in vain.
    """

    def __init__(self, count: int | None = None) -> None:
        self.stride = max(1, -(-(count or 0) // SLOTS))
        self.kept: list[Thumb] = []

    def wants(self, position: int) -> bool:
        return position % self.stride == 0

    def add(self, thumb: Thumb) -> None:
        self.kept.append(thumb)
        if len(self.kept) > SLOTS:
            self.kept = self.kept[::2]
            self.stride *= 2

    def chosen(self, last: Thumb) -> list[Thumb]:
        """Up to FRAMES thumbs in order, the first frame and `last` among them."""
        thumbs = [*(thumb for thumb in self.kept if thumb.position != last.position), last]
        if len(thumbs) <= FRAMES:
            return thumbs
        at = np.array([thumb.position for thumb in thumbs])
        nearest = {int(np.abs(at - wanted).argmin()) for wanted in np.linspace(0, last.position, FRAMES)}
        return [thumbs[i] for i in sorted(nearest)]


@OUTPUTS.register("preview")
class PreviewSheet(Output):
    """PNG of about 12 frames over the whole video, tinted, with names, signs of drift and a legend.

    The first frame is marked as the given one. Memory does not grow with the video: thumbnails only, and
    the frame seen last.
    """

    path = "preview/{video}.png"

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        self.colours = ObjectColours(video.palette)
        self.sample = EvenSample(video.count)
        self.object_ids: set[int] = set()
        self.drift = DriftSummary()
        self.frames = 0
        self.last: Item | None = None
        opencv("overlay and preview are drawn with")

    def write(self, item: Item) -> None:
        self.colours.see(*shrink(item.frame.image, item.mask))  # the same picture as the overlay's, for the same choice
        if self.sample.wants(self.frames):
            self.sample.add(self.thumb(item, self.frames))
        self.object_ids.update(item.confidence)
        self.drift.add(item.frame.name, item.confidence)
        self.last = item._replace(scores=None)
        self.frames += 1

    def thumb(self, item: Item, position: int) -> Thumb:
        height, width = item.mask.shape
        image, mask = resized(item.frame.image, item.mask, picture_scale(width, height))
        picture = tint(image, mask, self.colours.table)
        write_ids(picture, mask)
        if position == 0:
            return Thumb(0, Cell(picture, item.frame.name, "given mask", ACCENT, framed=True))
        found = sorted(item.confidence.items())
        lost = [str(object_id) for object_id, seen in found if seen.lost]
        drifted = [str(object_id) for object_id, seen in found if seen.drift and not seen.lost]
        parts = (f"{word}: {', '.join(ids)}" for word, ids in (("lost", lost), ("drift", drifted)) if ids)
        note = "; ".join(parts)
        return Thumb(position, Cell(picture, item.frame.name, note))

    def finish(self) -> None:
        if self.last is None:
            return
        height, width = self.last.mask.shape
        objects, frames = counted(len(self.object_ids), "object"), counted(self.frames, "frame")
        drift = describe_briefly(self.drift.episodes())
        sheet = contact_sheet(
            [thumb.cell for thumb in self.sample.chosen(self.thumb(self.last, self.frames - 1))],
            title=self.staged.final.stem,
            subtitle="  ·  ".join(filter(None, (f"{width} x {height}", frames, objects, drift))),
            legend={label: tuple(self.colours.table[label].tolist()) for label in sorted(self.object_ids)},
        )
        with open(self.staged.partial, "wb") as file:
            sheet.save(file, "PNG", compress_level=6)
