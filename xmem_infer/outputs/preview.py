"""The preview of a video: a contact sheet of about a dozen evenly spaced frames with their masks."""

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
SLOTS = 48  # thumbnails kept in memory during the video; more slots make the final selection more even


class Thumb(NamedTuple):
    """A drawn frame and its position in the video, counted from 0."""

    position: int
    cell: Cell


class EvenSample:
    """At most SLOTS thumbnails, evenly spaced over a stream of unknown length.

    Every `stride`-th frame is kept. When the slots are full, every second thumbnail is dropped and the stride is
    doubled. count: the expected number of frames, if known, so that fewer thumbnails are drawn and dropped again.
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

    def select(self, last: Thumb) -> list[Thumb]:
        """Return up to FRAMES evenly spaced thumbnails in order, including the first frame and `last`."""
        thumbs = [*(thumb for thumb in self.kept if thumb.position != last.position), last]
        if len(thumbs) <= FRAMES:
            return thumbs
        positions = np.array([thumb.position for thumb in thumbs])
        nearest = {int(np.abs(positions - target).argmin()) for target in np.linspace(0, last.position, FRAMES)}
        return [thumbs[i] for i in sorted(nearest)]


@OUTPUTS.register("preview")
class PreviewSheet(Output):
    """PNG contact sheet of about 12 frames of the video with overlaid masks, names, signs of drift and a legend.

    The first frame is marked as given. Memory use does not depend on the length of the video, because only
    thumbnails and the most recent frame are stored.
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
        # Scaled down as for the overlay, so that both choose the same colours.
        self.colours.update(*shrink(item.frame.image, item.mask))
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
        objects = sorted(item.confidence.items())
        lost = [str(object_id) for object_id, confidence in objects if confidence.lost]
        drifted = [str(object_id) for object_id, confidence in objects if confidence.drift and not confidence.lost]
        parts = (f"{word}: {', '.join(ids)}" for word, ids in (("lost", lost), ("drift", drifted)) if ids)
        return Thumb(position, Cell(picture, item.frame.name, "; ".join(parts)))

    def finish(self) -> None:
        if self.last is None:
            return
        height, width = self.last.mask.shape
        objects, frames = counted(len(self.object_ids), "object"), counted(self.frames, "frame")
        drift = describe_briefly(self.drift.episodes())
        sheet = contact_sheet(
            [thumb.cell for thumb in self.sample.select(self.thumb(self.last, self.frames - 1))],
            title=self.staged.final.stem,
            subtitle="  ·  ".join(filter(None, (f"{width} x {height}", frames, objects, drift))),
            legend={label: tuple(self.colours.table[label].tolist()) for label in sorted(self.object_ids)},
        )
        with open(self.staged.partial, "wb") as file:
            sheet.save(file, "PNG", compress_level=6)
