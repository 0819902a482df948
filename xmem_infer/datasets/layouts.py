"""Folder layouts of benchmark data sets: find their videos, given masks and the frames to save."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from ..config import DataConfig, DatasetConfig, GivenMasks, MaskPolicy, SavedFrames, require
from ..errors import UsageError
from ..io.listing import list_folders, list_images, name_some, numbering_warnings
from ..registry import Registry
from .mask_files import ANNOTATIONS, FRAMES
from .tree import Tree, listed_videos, open_tree, require_videos
from .video_input import VideoInput

DAVIS_SIZE = 480  # px: the resolution at which DAVIS is scored; its folders of that resolution are called 480p
DAVIS_FULL_RESOLUTION = ("Full-Resolution", "1080p")  # folder names in the releases of 2017 and 2016


@dataclass(frozen=True)
class FoundSet:
    """The videos of a data set in the order of its list, and warnings about the data set as a whole."""

    videos: list[VideoInput]
    warnings: list[str] = field(default_factory=list)


class Layout(Protocol):
    """A function that finds the videos of a data set by its folder structure, without opening them."""

    def __call__(self, rules: DatasetConfig, data_root: str | None, data: DataConfig, sizes: list[int]) -> FoundSet:
        """Find the videos below `data_root`.

        Args:
            rules: The data set's configuration.
            data_root: Folder of the data set.
            data: Its `masks` overrides which masks the data set gives.
            sizes: The working sizes (short side, px) of this run.

        Raises:
            UsageError: A file or folder is missing; the message says which one and where it is expected.
        """


LAYOUTS: Registry[Layout] = Registry("data-set layout", "dataset.layout")


def _refuse_unread(rules: DatasetConfig, *keys: str) -> None:
    """Raise UsageError if one of the settings `keys`, or dataset.saved=listed, is set but not used by this layout."""
    for key in keys:
        if getattr(rules, key):
            raise UsageError(f"dataset.{key}={getattr(rules, key)} is of no use with dataset.layout={rules.layout}")
    if rules.saved is SavedFrames.listed and rules.layout != "ytvos":
        raise UsageError(
            f"dataset.saved=listed is of no use with dataset.layout={rules.layout}, which has no list of frames "
            "(meta.json); it can be all or annotated"
        )


@LAYOUTS.register("davis")
def _davis(rules: DatasetConfig, data_root: str | None, data: DataConfig, sizes: list[int]) -> FoundSet:
    _refuse_unread(rules, "split")
    tree = open_tree(rules, data_root, FRAMES)
    names = listed_videos(tree)
    frames, masks = tree.frames_and_masks(f"{DAVIS_SIZE}p")
    require_videos(tree, names, frames, masks)
    full = None if set(sizes) == {DAVIS_SIZE} else _davis_full_resolution(tree, names)
    videos = [_video(rules, data, frames / name, masks / name, full=full) for name in names]
    return FoundSet(videos, tree.warnings)


def _davis_full_resolution(tree: Tree, names: list[str]) -> tuple[Path, Path] | None:
    """Return the folders of frames and masks at full resolution; None, with a warning, if there are none."""
    for level in DAVIS_FULL_RESOLUTION:
        if (tree.root / FRAMES / level).is_dir():
            frames, masks = tree.frames_and_masks(level)
            require_videos(tree, names, frames, masks)
            return frames, masks
    tree.warnings.append(
        f"{tree.rules.title}: sizes other than {DAVIS_SIZE} are published from full resolution, which is not at "
        f"{tree.root / FRAMES / DAVIS_FULL_RESOLUTION[0]}; frames of {DAVIS_SIZE}p are resized instead"
    )
    return None


@LAYOUTS.register("ytvos")
def _ytvos(rules: DatasetConfig, data_root: str | None, data: DataConfig, sizes: list[int]) -> FoundSet:
    _refuse_unread(rules, "video_lists")
    tree = open_tree(rules, data_root, f"{rules.split}/{ANNOTATIONS}")
    masks = tree.folder(rules.split, ANNOTATIONS)
    all_frames = tree.root / "all_frames" / f"{rules.split}_all_frames" / FRAMES
    frames = all_frames if all_frames.is_dir() else tree.root / rules.split / FRAMES
    if not frames.is_dir():
        raise tree.missing(f"the folder of frames {FRAMES}", all_frames)
    names = [folder.name for folder in list_folders(frames)]
    require_videos(tree, names, frames, masks)
    meta = tree.root / rules.split / "meta.json"
    listed = _listed_frames(tree, meta, names) if rules.saved is SavedFrames.listed else {}
    sampled = [name for name in names if numbering_warnings([file.stem for file in list_images(frames / name)])]
    if frames != all_frames or 2 * len(sampled) > len(names):
        tree.warnings.append(
            f"{rules.title}: the frames in {frames} look sampled (in {len(sampled)} of {len(names)} videos the "
            f"numbers leave frames out). Results are up to 10 points better with all frames, expected at {all_frames}"
        )
    return FoundSet(
        [_video(rules, data, frames / name, masks / name, listed.get(name)) for name in names], tree.warnings
    )


def _listed_frames(tree: Tree, meta: Path, names: list[str]) -> dict[str, frozenset[str]]:
    """Return, for each video, the names of the frames for which meta.json lists at least one object."""
    if not meta.is_file():
        raise tree.missing("the list of frames to save", meta)
    try:
        videos = json.loads(meta.read_text(encoding="utf-8"))["videos"]
        listed = {
            name: frozenset(frame for entry in videos[name]["objects"].values() for frame in entry["frames"])
            for name in names
            if name in videos
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{tree.rules.title}: {meta} is not what it should be ({type(error).__name__}: {error}): "
            'expected {"videos": {<video>: {"objects": {<object>: {"frames": [...]}}}}}'
        ) from error
    lacking = [name for name in names if not listed.get(name)]
    if lacking:
        raise UsageError(
            f"{tree.rules.title}: {meta} lists no frames for {len(lacking)} of {len(names)} videos "
            f"({name_some(lacking)}); is it the file of this split?"
        )
    return listed


@LAYOUTS.register("folders")
def _folders(rules: DatasetConfig, data_root: str | None, data: DataConfig, sizes: list[int]) -> FoundSet:
    _refuse_unread(rules, "split", "video_lists")
    tree = open_tree(rules, data_root, FRAMES)
    frames, masks = tree.frames_and_masks()
    names = [folder.name for folder in list_folders(frames)]
    require_videos(tree, names, frames, masks)
    return FoundSet([_video(rules, data, frames / name, masks / name) for name in names], tree.warnings)


def _video(
    rules: DatasetConfig,
    data: DataConfig,
    frames: Path,
    masks: Path,
    listed: frozenset[str] | None = None,
    full: tuple[Path, Path] | None = None,
) -> VideoInput:
    saved = None
    if rules.saved is SavedFrames.annotated:
        saved = frozenset(file.stem for file in list_images(masks))
    elif rules.saved is SavedFrames.listed:
        saved = listed
    given = rules.given
    if data.masks is not MaskPolicy.auto:
        given = GivenMasks.first if data.masks is MaskPolicy.first else GivenMasks.all
    require(
        not (data.complete_masks and given is GivenMasks.new_objects),
        "data.complete_masks", "true", "null or false: of this data set's later masks new objects alone are taken",
    )  # fmt: skip
    video = VideoInput(
        frames.name,
        frames,
        masks,
        all_masks=given is not GivenMasks.first,
        new_objects_only=given is GivenMasks.new_objects,
        annotated=given is GivenMasks.all,
        may_start_late=True,
        one_object=rules.rules == "davis16",
        saved=saved,
        truth=masks if rules.scored and given is GivenMasks.first else None,
    )
    if full is not None:
        video.full_resolution = replace(video, path=full[0] / frames.name, mask=full[1] / frames.name)
    return video
