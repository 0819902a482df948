"""The registry of export formats, and the base class of those for annotation tools."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ..outputs.protocol import Item, Output, VideoDetails
from ..registry import Registry


class Exporter(NamedTuple):
    """An export format.

    Attributes:
        title: Name shown to users.
        make: Creates the output of one video. If `draws` is False, it is given black frames.
        draws: Whether the format needs the images of the frames.
    """

    title: str
    make: Callable[[VideoDetails], Output]
    draws: bool = False


EXPORTERS: Registry[Exporter] = Registry("export format", "format")


class AnnotationOutput(Output):
    """Base class of the formats of annotation tools.

    Objects with the same name belong to the same class; classes are numbered in the order in which they appear.
    """

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        self.video = video
        self.classes: dict[str, int] = {}

    def class_of(self, object_id: int) -> tuple[int, str]:
        """Return the number (from 0) and the name of an object's class."""
        name = self.video.names.get(object_id) or f"object {object_id}"
        return self.classes.setdefault(name, len(self.classes)), name

    def shapes(self, item: Item) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the id and the binary mask, (H, W) uint8 of 0 and 1, of each object in a frame."""
        for object_id in np.unique(item.mask).tolist():
            if object_id:
                yield object_id, (item.mask == object_id).view(np.uint8)

    def image_name(self, item: Item) -> str:
        """Return the name of the frame's image in the other program."""
        return self.video.image_name.replace("{frame}", item.frame.name).replace("{video}", self.video.name)
