"""One kind of result on disk: the protocol, its registry, and what every implementation is given."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..io.atomic import Staged, disk_fault
from ..registry import Registry
from ..types import Frame, ObjectConfidence

FALLBACK_FPS = 24.0  # folders of frames have no clock; 24 is DAVIS's


@dataclass(frozen=True)
class VideoDetails:
    """What an output is told of its video before the first frame.

    Attributes:
        output_dir: Folder of the whole run.
        name: The video's name; its files and folders are named after it.
        palette: 768 bytes of RGB of the input mask; None: DAVIS's.
        fps: Frames per second, for frames without a time of their own.
        count: Number of frames where known; a hint.
        source: The video file that the frames come from, for its sound; None: no file, or none known.
        names: Of the objects, by id, where they have one.
        image_name: What a frame's picture is called in formats that name it, with {frame} and {video} to fill in.
    """

    output_dir: Path
    name: str
    palette: bytes | None = None
    fps: float | None = None
    count: int | None = None
    source: Path | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    image_name: str = "{frame}.jpg"


class Item(NamedTuple):
    """One frame's result.

    Attributes:
        frame: The picture with its name.
        mask: (H, W) uint8 object ids, 0 = background.
        confidence: By object id.
        scores: (O + 1, H, W) uint8 = 255 p, background first, then the ids in the order of `confidence`;
            None where no output of the run needs them.
    """

    frame: Frame
    mask: np.ndarray
    confidence: Mapping[int, ObjectConfidence]
    scores: np.ndarray | None


class Output(ABC):
    """One output of one video: `stage`, `write` per frame, `finish`, `publish`; or `discard` at any point.

    A file or folder appears whole or not at all: it grows under a hidden name until `publish` renames it.
    Except for `discard`, methods may raise OSError where the disk refuses; the writer names the file.

    Attributes:
        path: Where it appears below the output folder; {video} stands for the video's name.
        needs_scores: Whether `write` must be given the probabilities.
    """

    path: str
    needs_scores = False

    def __init__(self, video: VideoDetails) -> None:
        self.staged = Staged(video.output_dir / self.path.format(video=video.name))

    def stage(self) -> None:
        """Make room for the result and clear what a killed run left."""
        self.staged.prepare()

    @abstractmethod
    def write(self, item: Item) -> None:
        """Take one frame's result; called in the video's order, in a background thread."""

    def finish(self) -> None:  # noqa: B027 (most outputs are complete with their last frame)
        """Complete what lies under the hidden name; called once, after at least one frame."""

    def publish(self) -> None:
        """Give the result its final name, in place of an older one."""
        self.staged.publish()

    def discard(self) -> None:
        """Close and remove what is unfinished; never raises."""
        self.staged.discard()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Around the writing of all frames: published where the block ends well, else nothing is left.

        Raises:
            EnvironmentFault: The disk refuses.
        """
        try:
            self.stage()
            yield
            self.finish()
            self.publish()
        except OSError as error:
            raise disk_fault(error, self.staged.final) from error
        finally:
            self.discard()


OUTPUTS: Registry[Callable[[VideoDetails], Output]] = Registry("output", "output.also")
