"""Folder layouts of benchmark data sets: find their videos, given masks and the frames to save."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..config import DataConfig, DatasetConfig, GivenMasks, MaskPolicy, SavedFrames, require
from ..errors import UsageError
from ..io.listing import (
    describe_contents,
    existing_path,
    is_image_name,
    list_folders,
    list_images,
    name_some,
    numbering_warnings,
)
from ..registry import Registry
from .mask_files import ANNOTATIONS, FRAMES
from .video_input import VideoInput

DAVIS_SIZE = 480  # px: the resolution at which DAVIS is scored; its folders of that resolution are called 480p
DAVIS_FULL_RESOLUTION = ("Full-Resolution", "1080p")  # folder names in the releases of 2017 and 2016


@dataclass(frozen=True)
class FoundSet:
    """The videos of a data set in the order of its list, and warnings about the data set as a whole."""

    videos: list[VideoInput]
    warnings: list[str] = field(default_factory=list)


Layout = Callable[[DatasetConfig, str | None, DataConfig, list[int]], FoundSet]
"""Finds the videos of a data set, without opening them: (its configuration, data_root, data, sizes) -> videos.

`data.masks` overrides which masks the data set gives; `sizes` are the working sizes (short side, px) of the run. Raises
UsageError if a file or folder is missing; the message says which one and where it is expected.
"""

LAYOUTS: Registry[Layout] = Registry("data-set layout", "dataset.layout")


@LAYOUTS.register("davis")
def _davis(rules: DatasetConfig, data_root: str | None, data: DataConfig, sizes: list[int]) -> FoundSet:
    tree = _Tree(rules, data_root, FRAMES, unread=("split",))
    names = tree.listed_videos()
    frames, masks = tree.frames_and_masks(names, f"{DAVIS_SIZE}p")
    full = None
    if set(sizes) != {DAVIS_SIZE}:
        level = next((level for level in DAVIS_FULL_RESOLUTION if (tree.root / FRAMES / level).is_dir()), None)
        if level is not None:
            full = tree.frames_and_masks(names, level)
        else:
            tree.warnings.append(
                f"{rules.title}: sizes other than {DAVIS_SIZE} are published from full resolution, which is not at "
                f"{tree.root / FRAMES / DAVIS_FULL_RESOLUTION[0]}; frames of {DAVIS_SIZE}p are resized instead"
            )
    videos = [_video(rules, data, frames / name, masks / name, full=full) for name in names]
    return FoundSet(videos, tree.warnings)


@LAYOUTS.register("ytvos")
def _ytvos(rules: DatasetConfig, data_root: str | None, data: DataConfig, sizes: list[int]) -> FoundSet:
    tree = _Tree(rules, data_root, f"{rules.split}/{ANNOTATIONS}", unread=("video_lists",))
    masks = tree.root / rules.split / ANNOTATIONS
    all_frames = tree.root / "all_frames" / f"{rules.split}_all_frames" / FRAMES
    frames = all_frames if all_frames.is_dir() else tree.root / rules.split / FRAMES
    if not frames.is_dir():
        raise tree.missing(f"the folder of frames {FRAMES}", all_frames)
    names = [folder.name for folder in list_folders(frames)]
    tree.require_videos(names, frames, masks)
    meta = tree.root / rules.split / "meta.json"
    listed = _listed_frames(tree, meta, names) if rules.saved is SavedFrames.listed else {}
    sampled = [name for name in names if numbering_warnings([file.stem for file in list_images(frames / name)])]
    if frames != all_frames or 2 * len(sampled) > len(names):
        tree.warnings.append(
            f"{rules.title}: the frames in {frames} look sampled (in {len(sampled)} of {len(names)} videos the "
            f"numbers leave frames out). Results are up to 10 points better with all frames, expected at {all_frames}"
        )
    videos = [_video(rules, data, frames / name, masks / name, listed.get(name)) for name in names]
    return FoundSet(videos, tree.warnings)


@LAYOUTS.register("folders")
def _folders(rules: DatasetConfig, data_root: str | None, data: DataConfig, sizes: list[int]) -> FoundSet:
    tree = _Tree(rules, data_root, FRAMES, unread=("split", "video_lists"))
    names = [folder.name for folder in list_folders(tree.root / FRAMES)]
    frames, masks = tree.frames_and_masks(names)
    return FoundSet([_video(rules, data, frames / name, masks / name) for name in names], tree.warnings)


def _listed_frames(tree: "_Tree", meta: Path, names: list[str]) -> dict[str, frozenset[str]]:
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
    if lacking := [name for name in names if not listed.get(name)]:
        raise UsageError(
            f"{tree.rules.title}: {meta} lists no frames for {len(lacking)} of {len(names)} videos "
            f"({name_some(lacking)}); is it the file of this split?"
        )
    return listed


def _video(
    rules: DatasetConfig,
    data: DataConfig,
    frames: Path,
    masks: Path,
    listed: frozenset[str] | None = None,
    full: tuple[Path, Path] | None = None,
) -> VideoInput:
    is_annotated = rules.saved is SavedFrames.annotated
    given = rules.given if data.masks is MaskPolicy.auto else GivenMasks[data.masks.name]
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
        saved=frozenset(file.stem for file in list_images(masks)) if is_annotated else listed,
        truth=masks if rules.scored and given is GivenMasks.first else None,
    )
    if full is not None:
        video.full_resolution = replace(video, path=full[0] / frames.name, mask=full[1] / frames.name)
    return video


class _Tree:
    """A data set on disk, at the first of `rules.levels` below `data_root` that contains the folder `mark`.

    Raises UsageError if there is none, or if a setting of the data set is given that its layout does not read.
    """

    def __init__(self, rules: DatasetConfig, data_root: str | None, mark: str, unread: tuple[str, ...]):
        for key in unread:
            if getattr(rules, key):
                raise UsageError(f"dataset.{key}={getattr(rules, key)} is of no use with dataset.layout={rules.layout}")
        if rules.saved is SavedFrames.listed and rules.layout != "ytvos":
            raise UsageError(
                f"dataset.saved=listed is of no use with dataset.layout={rules.layout}, which has no list of frames "
                "(meta.json); it can be all or annotated"
            )
        if not data_root:
            raise UsageError(
                f"data_root is not set: dataset={rules.name} needs data_root=PATH, the folder that holds "
                f"{' or '.join(str(Path(level, mark)) for level in rules.levels)}"
            )
        given = existing_path(data_root, "data_root")
        candidates = [given / level for level in rules.levels]
        root = next((candidate for candidate in candidates if (candidate / mark).is_dir()), None)
        if root is None:
            raise UsageError(
                f"{rules.title}: the folder {mark} is missing, expected at "
                f"{' or '.join(str(candidate / mark) for candidate in candidates)}; {given} holds "
                f"{describe_contents(given)}"
            )
        self.rules, self.root, self.warnings = rules, root, list[str]()

    def frames_and_masks(self, names: list[str], *level: str) -> tuple[Path, Path]:
        """Return the folders JPEGImages and Annotations, or a sub-folder of both such as 480p, that hold all videos."""
        frames, masks = self.root.joinpath(FRAMES, *level), self.root.joinpath(ANNOTATIONS, *level)
        for folder in (frames, masks):
            if not folder.is_dir():
                parent = next(parent for parent in folder.parents if parent.is_dir())
                raise UsageError(
                    f"{self.rules.title}: the folder {folder.name} is missing, expected at {folder}; "
                    f"{parent} holds {describe_contents(parent)}"
                )
        self.require_videos(names, frames, masks)
        return frames, masks

    def require_videos(self, names: list[str], frames: Path, masks: Path) -> None:
        """Raise UsageError unless there are videos and each has a folder of frames and of masks with content."""
        if not names:
            raise UsageError(f"{self.rules.title}: {frames} holds no folder per video")
        for root, what in ((frames, "frames"), (masks, "masks")):
            if lacking := [name for name in names if not (root / name).is_dir() or not list_images(root / name)]:
                raise UsageError(
                    f"{self.rules.title}: {what} of {len(lacking)} of {len(names)} videos are missing "
                    f"({name_some(lacking)}), expected in {root / lacking[0]}"
                )

    def listed_videos(self) -> list[str]:
        """Read the names of the videos from the first of the data set's list files that exists.

        Each line is a name or, in the lists of DAVIS-2016, the paths of a frame and of its mask. Raises UsageError.
        """
        files = [self.root / name for name in self.rules.video_lists]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise self.missing("the list of videos", Path(" or ".join(map(str, files))))
        what = f"{self.rules.title}: the list of videos {file}"
        try:
            entries = [line.split()[0] for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{what} cannot be read: {error}") from error
        names: dict[str, None] = {}
        for entry in entries:
            name = Path(entry).parent.name if "/" in entry and is_image_name(Path(entry)) else entry
            if "/" in name or name in ("", ".", ".."):
                raise UsageError(
                    f"{what} holds {entry!r}; expected the name of a folder of frames, or the path of a frame in it"
                )
            names[name] = None
        if not names:
            raise UsageError(f"{what} is empty")
        return list(names)

    def missing(self, what: str, expected: Path) -> UsageError:
        """Return the error for a missing file or folder of this data set."""
        return UsageError(f"{self.rules.title}: {what} is missing, expected at {expected}")
