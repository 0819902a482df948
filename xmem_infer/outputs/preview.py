"""The preview of a video: a contact sheet of about a dozen evenly spaced frames with their masks."""

import numpy as np

from ..engine.drift import DriftSummary, describe_briefly
from ..io.listing import counted
from ..io.opencv import opencv
from .overlay import DRAWN, ObjectColours, resized, shrink, tint, write_ids
from .protocol import OUTPUTS, Item, Output, VideoDetails
from .sheet import Cell, contact_sheet, picture_scale

FRAMES = 12  # pictures on a sheet
SLOTS = 48  # thumbnails kept in memory during the video; more slots make the final selection more even


class EvenSample:
    """At most SLOTS drawn frames, evenly spaced over a stream of unknown length.

    Every `stride`-th frame is kept, by its position in the video from 0. When the slots are full, the stride is doubled
    and every second frame dropped. count: the expected number of frames, if known, so that fewer are drawn and dropped.
    """

    def __init__(self, count: int | None = None) -> None:
        self.stride = max(1, -(-(count or 0) // SLOTS))
        self.kept: dict[int, Cell] = {}

    def wants(self, position: int) -> bool:
        return position % self.stride == 0

    def add(self, position: int, cell: Cell) -> None:
        self.kept[position] = cell
        if len(self.kept) > SLOTS:
            self.stride *= 2
            self.kept = {position: cell for position, cell in self.kept.items() if self.wants(position)}

    def select(self, last: int, cell: Cell) -> dict[int, Cell]:
        """Return up to FRAMES evenly spaced frames in order, including the first and the last, which is `cell`."""
        cells = {**self.kept, last: cell}
        if len(cells) <= FRAMES:
            return cells
        positions = np.array(list(cells))
        nearest = {int(positions[np.abs(positions - target).argmin()]) for target in np.linspace(0, last, FRAMES)}
        return {position: cells[position] for position in sorted(nearest)}


@OUTPUTS.register("preview")
class PreviewSheet(Output):
    """PNG contact sheet of about 12 frames of the video with overlaid masks, names, signs of drift and a legend.

    Only thumbnails and the most recent frame are stored, so memory use does not depend on the length of the video.
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
        opencv(DRAWN)

    def write(self, item: Item) -> None:
        # Scaled down as for the overlay, so that both choose the same colours.
        self.colours.update(*shrink(item.frame.image, item.mask))
        if self.sample.wants(self.frames):
            self.sample.add(self.frames, self.thumbnail(item, self.frames))
        self.object_ids.update(item.confidence)
        self.drift.add(item.frame.name, item.confidence)
        self.last = item._replace(scores=None)
        self.frames += 1

    def thumbnail(self, item: Item, position: int) -> Cell:
        height, width = item.mask.shape
        image, mask = resized(item.frame.image, item.mask, picture_scale(width, height))
        picture = tint(image, mask, self.colours.table)
        write_ids(picture, mask)
        if position == 0:
            return Cell(picture, item.frame.name, "given mask", framed=True)
        objects = sorted(item.confidence.items())
        lost = [str(object_id) for object_id, confidence in objects if confidence.lost]
        drifted = [str(object_id) for object_id, confidence in objects if confidence.drift and not confidence.lost]
        parts = (f"{word}: {', '.join(ids)}" for word, ids in (("lost", lost), ("drift", drifted)) if ids)
        return Cell(picture, item.frame.name, "; ".join(parts))

    def finish(self) -> None:
        if self.last is None:
            return
        (height, width), last = self.last.mask.shape, self.frames - 1
        objects, frames = counted(len(self.object_ids), "object"), counted(self.frames, "frame")
        drift = describe_briefly(self.drift.episodes())
        sheet = contact_sheet(
            list(self.sample.select(last, self.thumbnail(self.last, last)).values()),
            title=self.staged.final.stem,
            subtitle="  ·  ".join(filter(None, (f"{width} x {height}", frames, objects, drift))),
            legend={label: tuple(self.colours.table[label].tolist()) for label in sorted(self.object_ids)},
        )
        with open(self.staged.partial, "wb") as file:
            sheet.save(file, "PNG", compress_level=6)
