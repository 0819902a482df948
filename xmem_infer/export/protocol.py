"""A format that masks are exported in: an output with a title, found by its name."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ..io.palette import full_palette
from ..outputs.protocol import Item, Output, VideoDetails
from ..registry import Registry


class Exporter(NamedTuple):
    """A format.

    Attributes:
        title: For people who choose.
        make: The output of one video; with masks alone, its frames are black.
        draws: Whether it needs the frames' pictures.
    """

    title: str
    make: Callable[[VideoDetails], Output]
    draws: bool = False


EXPORTERS: Registry[Exporter] = Registry("export format", "format")


class AnnotationOutput(Output):
    """What the formats of annotation tools share. Objects of one name are of one class, numbered as they appear."""

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        self.video = video
        self.classes: dict[str, int] = {}
        self.colours: list[str] = []  # of the classes, as #rrggbb
        self.palette = full_palette(video.palette)

    def class_of(self, object_id: int) -> tuple[int, str]:
        """Number, from 0, and name of an object's class."""
        name = self.video.names.get(object_id) or f"object {object_id}"
        if name not in self.classes:
            self.classes[name] = len(self.classes)
            self.colours.append(f"#{self.palette[3 * object_id : 3 * object_id + 3].hex()}")
        return self.classes[name], name

    def shapes(self, item: Item) -> Iterator[tuple[int, np.ndarray]]:
        """Each object of a frame with its own mask, (H, W) uint8 of 0 and 1."""
        for object_id in np.unique(item.mask).tolist():
            if object_id:
                yield object_id, (item.mask == object_id).view(np.uint8)

    def image_name(self, item: Item) -> str:
        """What the frame's picture is called in the other program."""
        return self.video.image_name.replace("{frame}", item.frame.name).replace("{video}", self.video.name)
