"""Locate the folders and list files of a data set, with precise messages for missing ones."""

from dataclasses import dataclass
from pathlib import Path

from ..config import DatasetConfig
from ..errors import UsageError
from ..io.listing import describe_contents, existing_path, is_image_name, list_images, name_some
from .mask_files import ANNOTATIONS, FRAMES


@dataclass(frozen=True)
class Tree:
    """A data set on disk: its configuration, its root folder, and warnings for the user."""

    rules: DatasetConfig
    root: Path
    warnings: list[str]

    def folder(self, *parts: str) -> Path:
        """Return a folder below the root. Raises UsageError if it is missing."""
        folder = self.root.joinpath(*parts)
        if not folder.is_dir():
            parent = next(parent for parent in folder.parents if parent.is_dir())
            raise UsageError(
                f"{self.rules.title}: the folder {folder.name} is missing, expected at {folder}; "
                f"{parent} holds {describe_contents(parent)}"
            )
        return folder

    def frames_and_masks(self, *level: str) -> tuple[Path, Path]:
        """Return the folders JPEGImages and Annotations, or a sub-folder of both such as 480p. Raises UsageError."""
        return self.folder(FRAMES, *level), self.folder(ANNOTATIONS, *level)

    def missing(self, what: str, expected: Path) -> UsageError:
        """Return the error for a missing file or folder of this data set."""
        return UsageError(f"{self.rules.title}: {what} is missing, expected at {expected}")


def open_tree(rules: DatasetConfig, data_root: str | None, mark: str) -> Tree:
    """Return the data set at the first of `rules.levels` below `data_root` that contains the folder `mark`.

    Raises UsageError if none of them does.
    """
    if not data_root:
        raise UsageError(
            f"data_root is not set: dataset={rules.name} needs data_root=PATH, the folder that holds "
            f"{' or '.join(str(Path(level, mark)) for level in rules.levels)}"
        )
    root = existing_path(data_root, "data_root")
    if not root.is_dir():
        raise UsageError(f"data_root={data_root} is a file; give the folder of {rules.title}")
    candidates = [root / level for level in rules.levels]
    for candidate in candidates:
        if (candidate / mark).is_dir():
            return Tree(rules, candidate, [])
    raise UsageError(
        f"{rules.title}: the folder {mark} is missing, expected at "
        f"{' or '.join(str(candidate / mark) for candidate in candidates)}; {root} holds {describe_contents(root)}"
    )


def listed_videos(tree: Tree) -> list[str]:
    """Read the names of the videos from the first of the data set's list files that exists.

    Each line is a name or, in the lists of DAVIS-2016, the paths of a frame and of its mask. Raises UsageError.
    """
    files = [tree.root / name for name in tree.rules.video_lists]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise tree.missing("the list of videos", Path(" or ".join(map(str, files))))
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{tree.rules.title}: the list of videos {file} cannot be read: {error}") from error
    entries = [line.split()[0] for line in lines if line.strip()]
    names: dict[str, None] = {}
    for entry in entries:
        name = Path(entry).parent.name if "/" in entry and is_image_name(Path(entry)) else entry
        if "/" in name or name in ("", ".", ".."):
            raise UsageError(
                f"{tree.rules.title}: the list of videos {file} holds {entry!r}; expected the name of a folder of "
                "frames, or the path of a frame in it"
            )
        names[name] = None
    if not names:
        raise UsageError(f"{tree.rules.title}: the list of videos {file} is empty")
    return list(names)


def require_videos(tree: Tree, names: list[str], frames: Path, masks: Path) -> None:
    """Raise UsageError unless every video has a non-empty folder of frames and of masks."""
    if not names:
        raise UsageError(f"{tree.rules.title}: {frames} holds no folder per video")
    for root, what in ((frames, "frames"), (masks, "masks")):
        lacking = [name for name in names if not (root / name).is_dir() or not list_images(root / name)]
        if lacking:
            raise UsageError(
                f"{tree.rules.title}: {what} of {len(lacking)} of {len(names)} videos are missing "
                f"({name_some(lacking)}), expected in {root / lacking[0]}"
            )
