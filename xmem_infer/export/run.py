"""Export the masks of one video to one format."""

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
from . import annotations, pictures  # noqa: F401  # imported because they register formats
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
    """Export the masks of a video to another format. The result is published only when it is complete.

    Formats that write masks skip frames without a mask; formats that draw frames show these frames without objects.

    Args:
        kind: Name of the format, see EXPORTERS.
        masks: Folder of PNG masks of one size, named after their frames.
        output_dir: Output folder; each format has its own sub-folder.
        frames: The video; required by formats that draw frames.
        name: Name of the result; None uses the name of `frames` or of the folder of masks.
        source: Video file from which audio is copied; None for no audio.
        names: Object names by id.
        colours: RGB colours of objects by id; other objects get those of the first mask's palette.
        objects: Ids of the objects to export; empty exports all.
        image_name: Template for image names in formats that refer to images, with {frame} and {video}.
        fps: Frame rate of a video made from frames without timestamps; None uses 24.
        overwrite: Whether to replace a previous result.
        progress: Called after each frame with the number of finished frames and the total (None if unknown). An
            exception that it raises stops the export.

    Returns:
        The file or folder written.

    Raises:
        UsageError: There are no masks, masks match no frame or differ in size, the format is unknown, or a previous
            result exists. Raised before any work, except for unmatched masks if the video's length is unknown.
        EnvironmentFault: A required package is missing, or writing failed.
    """
    exporter, files = EXPORTERS[kind], _checked_mask_files(masks, frames)
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
        (_items_with_frames(read, frames), frames.count)
        if exporter.draws and frames is not None
        else (_items_without_frames(read, frames), len(files))
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
    """Reads the mask of a frame by its name, replacing objects that are not exported with background."""

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


def _checked_mask_files(masks: Path, frames: FrameSource | None) -> dict[str, Path]:
    """Return the mask files by frame name, in the order of the video. Raises UsageError."""
    files = mask_files(existing(masks, "masks"))
    if not files:
        raise UsageError(f"masks={masks} holds no PNG masks")
    files = {stem: files[stem] for stem in sorted(files, key=natural_key)}
    if frames is not None and frames.count is not None:
        known = {frame_name(frames, index) for index in range(frames.count)}
        _refuse_unknown([stem for stem in files if stem not in known], frames)
    size, what = (frames.size, "the video is") if frames is not None else (None, "")
    for path in files.values():
        mask_size = read_header(path, DataConfig.max_pixels).size
        if size is None:
            size, what = mask_size, f"{path.name} is"
        if mask_size != size:
            raise UsageError(f"mask {path} is {size_words(mask_size)}, {what} {size_words(size)}: all need one size")
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


def _items_without_frames(read: _Reader, frames: FrameSource | None) -> Iterator[Item]:
    """Yield an item with a black image for each mask; its index is that in the video, else the number in its name."""
    indices = {stem: index for index, stem in enumerate((frames.stems if frames is not None else None) or ())}
    is_numbered = all(stem.isdecimal() for stem in read.files)
    for position, stem in enumerate(read.files):
        mask = read(stem)
        index = indices.get(stem, int(stem) if is_numbered else position)
        black = np.broadcast_to(np.uint8(0), (*mask.ids.shape, 3))
        yield Item(Frame(index, stem, black), mask.ids, {}, None)


def _items_with_frames(read: _Reader, frames: FrameSource) -> Iterator[Item]:
    unmatched = set(read.files)
    for frame in frames:
        unmatched.discard(frame.name)
        mask = read(frame.name).ids if frame.name in read.files else np.zeros(frame.image.shape[:2], np.uint8)
        yield Item(frame, mask, {}, None)
    _refuse_unknown(sorted(unmatched, key=natural_key), frames)
