"""The base class of outputs (kinds of results on disk), their registry, and the data passed to them."""

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

FALLBACK_FPS = 24.0  # for folders of frames, which have no timestamps; DAVIS videos have 24


@dataclass(frozen=True)
class VideoDetails:
    """The properties of a video that outputs need before its first frame."""

    output_dir: Path  # output folder of the run
    name: str  # the video's files and folders are named after it
    palette: bytes | None = None  # 768 bytes of RGB, the palette of the input mask; None uses that of DAVIS
    fps: float | None = None  # frames per second, for frames without a timestamp
    count: int | None = None  # expected number of frames, if known
    source: Path | None = None  # the video file of the frames, from which audio is copied
    names: Mapping[int, str] = field(default_factory=dict)  # of objects, by id
    image_name: str = "{frame}.jpg"  # of a frame in formats that refer to it, from {frame} and {video}


class Item(NamedTuple):
    """The result of one frame.

    `scores` are (O + 1, H, W) uint8 = 255 p, the background first, then the objects in the order of `confidence`; None
    if no output of the run needs them.
    """

    frame: Frame
    mask: np.ndarray  # (H, W) uint8 object ids, 0 = background
    confidence: Mapping[int, ObjectConfidence]  # by object id
    scores: np.ndarray | None


class Output(ABC):
    """One output of one video, a file or a folder.

    After `staged.prepare()`, `write` is called for every frame, then `finish`; `discard` may be called at any point.
    They write to `staged.partial`, a hidden temporary name, until `staged.publish()` renames it, so that the result is
    never visible incomplete. `write` and `finish` may raise OSError, to which the caller adds the path.

    Attributes:
        path: Path of the result below the output folder; {video} stands for the video's name.
        needs_scores: Whether `write` needs `Item.scores`.
    """

    path: str
    needs_scores = False

    def __init__(self, video: VideoDetails) -> None:
        self.staged = Staged(video.output_dir / self.path.format(video=video.name))

    @abstractmethod
    def write(self, item: Item) -> None:
        """Write the result of one frame; called in the order of the video, in a background thread."""

    def finish(self) -> None:  # noqa: B027 (most outputs are complete with their last frame)
        """Complete the temporary file or folder; called once, after at least one frame."""

    def discard(self) -> None:
        """Close and remove the unfinished result; never raises."""
        self.staged.discard()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Prepare the output, then publish it if the `with` block succeeds and discard it otherwise.

        Raises EnvironmentFault if writing failed, for example because the disk is full.
        """
        try:
            self.staged.prepare()
            yield
            self.finish()
            self.staged.publish()
        except OSError as error:
            raise disk_fault(error, self.staged.final) from error
        finally:
            self.discard()


OUTPUTS: Registry[Callable[[VideoDetails], Output]] = Registry("output", "output.also")
