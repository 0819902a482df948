"""The masks of one video, exported in one format."""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..config import DataConfig
from ..errors import UsageError
from ..interrupts import check
from ..io.frames import FrameSource, frame_name
from ..io.images import read_header, size_words
from ..io.listing import name_some, natural_key
from ..io.mask_colours import ColourIds
from ..io.masks import read_mask
from ..io.palette import with_colours
from ..outputs.protocol import Item, VideoDetails
from ..scoring.pairing import existing, mask_files
from ..types import Frame, LabelMask
from . import annotations, pictures  # noqa: F401  # formats register themselves
from .protocol import EXPORTERS

log = logging.getLogger(__name__)

Colour = tuple[int, int, int]


def export_masks(
    kind: str,
    masks: Path,
    output_dir: Path,
    frames: FrameSource | None = None,
    *,
    name: str | None = None,
    source: Path | None = None,
    names: Mapping[int, str] | None = None,
    colours: Mapping[int, Colour] | None = None,
    objects: Collection[int] = (),
    image_name: str = "{frame}.jpg",
    fps: float | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Path:
    """Write the masks of a video in another format. The result appears whole or not at all.

    Frames without a mask are left out where masks are written, and have no objects in videos.

    Args:
        kind: Name of a format, see EXPORTERS.
        masks: Folder of PNG masks of one size, named after their frames.
        output_dir: Where results go, each format in a folder of its own.
        frames: The video; without it, formats that draw pictures are refused.
        name: What the result is called; None: as the frames, or the folder of masks.
        source: The video file, for its sound; None: no sound.
        names: Of the objects, by id.
        colours: Of the objects, as RGB; others have those of the first mask's palette.
        objects: Ids of those to export; none: all.
        image_name: What pictures are called in formats that name them; {frame} and {video} are filled in.
        fps: Frames per second of a video from frames without a clock; None: 24.
        overwrite: Whether an older result is replaced.
        progress: Called after each frame with how many are done, and of how many (None: not known). What it raises
            stops the export.

    Returns:
        The file or folder.

    Raises:
        UsageError: Before any work: no masks, masks of frames that are not there or of another size, a format that is
            not there, an older result. At the end where the video's length is not known before.
        EnvironmentFault: A missing package, a disk that cannot be written.
    """
    exporter, files = EXPORTERS[kind], _checked_files(masks, frames)
    if exporter.draws and frames is None:
        raise UsageError(f"format={kind} shows the pictures, too: give frames=VIDEO, the file or folder of its frames")
    read = _Reader(files, objects)
    palette = with_colours(read(next(iter(files))).palette, colours or {})
    title = name or (frames.name if frames is not None else masks.absolute().name)
    rate = fps or (frames.fps if frames is not None else None)
    video = VideoDetails(output_dir, title, palette, rate, len(files), source, names or {}, image_name)
    output = exporter.make(video)
    _check_destination(output.staged.final, masks, overwrite)
    items, total = (
        (_with_pictures(read, frames), frames.count)
        if exporter.draws and frames is not None
        else (_masks_alone(read, frames), len(files))
    )
    with output.whole():
        for done, item in enumerate(items, 1):
            output.write(item)
            check()
            progress(done, total)
    if missing := sorted(set(objects) - read.shown):
        log.warning("warning: no mask of %s shows objects %s", title, missing)
    return output.staged.final


class _Reader:
    """Reads the mask of a frame by its name; objects that were not asked for are background."""

    def __init__(self, files: Mapping[str, Path], objects: Collection[int]) -> None:
        self.files, self.objects, self.colours = files, objects, ColourIds()
        self.shown = set[int]()

    def __call__(self, frame: str) -> LabelMask:
        mask = read_mask(self.files[frame], DataConfig.max_pixels, self.colours)
        if not self.objects:
            return mask
        mask = replace(mask, ids=mask.ids * np.isin(mask.ids, list(self.objects)))
        self.shown.update(np.unique(mask.ids).tolist())
        return mask


def _checked_files(masks: Path, frames: FrameSource | None) -> dict[str, Path]:
    """The mask files by frame name, in the order of the video. Raises UsageError."""
    found = mask_files(existing(masks, "masks"))
    if not found:
        raise UsageError(f"masks={masks} holds no PNG masks")
    files = {stem: found[stem] for stem in sorted(found, key=natural_key)}
    if frames is not None and frames.count is not None:
        known = {frame_name(frames, index) for index in range(frames.count)}
        _refuse_unknown([stem for stem in files if stem not in known], frames)
    size, what = (frames.size, "the video is") if frames is not None else (None, "")
    for path in files.values():
        found_size = read_header(path, DataConfig.max_pixels).size
        if size is None:
            size, what = found_size, f"{path.name} is"
        if found_size != size:
            raise UsageError(f"mask {path} is {size_words(found_size)}, {what} {size_words(size)}: all need one size")
    return files


def _refuse_unknown(stems: list[str], frames: FrameSource) -> None:
    if stems:
        raise UsageError(
            f"{len(stems)} masks are of frames that {frames.name} does not have: {name_some(stems)}; its first frame is"
            f" {frame_name(frames, 0)}. Masks are named after their frames"
        )


def _check_destination(final: Path, masks: Path, overwrite: bool) -> None:
    if final.resolve() in (masks.resolve(), *masks.resolve().parents):
        raise UsageError(f"{final} holds the masks that are exported: give another output_dir")
    if os.path.lexists(final) and not overwrite:
        raise UsageError(f"{final} is there already: give another output_dir, or overwrite=true to replace it")


def _masks_alone(read: _Reader, frames: FrameSource | None) -> Iterator[Item]:
    """Items whose pictures are black; frames are numbered as in the video, or as their names say."""
    numbers = {stem: index for index, stem in enumerate((frames.stems if frames is not None else None) or ())}
    named = all(stem.isdecimal() for stem in read.files)
    for position, stem in enumerate(read.files):
        mask = read(stem)
        index = numbers.get(stem, int(stem) if named else position)
        black = np.broadcast_to(np.uint8(0), (*mask.ids.shape, 3))
        yield Item(Frame(index, stem, black), mask.ids, {}, None)


def _with_pictures(read: _Reader, frames: FrameSource) -> Iterator[Item]:
    missing = set(read.files)
    for frame in frames:
        missing.discard(frame.name)
        mask = read(frame.name).ids if frame.name in read.files else np.zeros(frame.image.shape[:2], np.uint8)
        yield Item(frame, mask, {}, None)
    _refuse_unknown(sorted(missing, key=natural_key), frames)
