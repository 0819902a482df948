"""What lies in a folder: image files in natural order, and words for what was found instead."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ..errors import UsageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ts", ".mts", ".3gp", ".ogv",
)  # fmt: skip
MAX_NAMED = 3  # names spelled out in a message; the rest is counted


def existing_path(text: str, key: str) -> Path:
    """The path that the setting `key` names. Raises UsageError where there is nothing."""
    path = Path(text).expanduser()
    if not path.exists():
        from_where = "" if path.is_absolute() else f" (seen from {Path.cwd()})"
        raise UsageError(f"{key}={text} does not exist{from_where}")
    return path


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key under which 2 comes before 10; names that differ only in zeros or case keep a fixed order."""
    parts: list[str | int] = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.casefold())]
    return parts, name


def is_image_name(path: Path) -> bool:
    """Whether the name says image: a known suffix in any case, not hidden (`._1.jpg` is no frame)."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path) -> list[Path]:
    """Image files of `folder`, in natural order of their names; everything else is ignored.

    Links to nowhere are among them: a frame that is lost must not go unsaid.
    Raises UsageError where two files share a stem: their masks would get the same name.
    """
    images = [path for path in _entries(folder) if is_image_name(path) and not path.is_dir()]
    return _refuse_twins(folder, images)


def _refuse_twins(folder: Path, files: list[Path]) -> list[Path]:
    by_stem: dict[str, Path] = {}
    for file in files:
        twin = by_stem.setdefault(file.stem, file)
        if twin is not file:
            raise UsageError(
                f"{folder}: {twin.name} and {file.name} have the same name but for their ending, so it is not "
                "clear which one is meant; keep one of them here (masks go into a folder of their own)"
            )
    return files


def list_folders(folder: Path) -> list[Path]:
    """Sub-folders of `folder` that are not hidden, in natural order."""
    return [path for path in _entries(folder) if _is_folder(path) and not path.name.startswith(".")]


def _is_folder(path: Path) -> bool:
    """Also a link to nowhere that is called like a folder: a video that is lost must not go unsaid."""
    return path.is_dir() or (not path.suffix and path.is_symlink() and not path.exists())


def list_videos(folder: Path) -> list[Path]:
    """Video files of `folder` by their endings, in natural order.

    Raises UsageError where two files share a stem: their results would get the same name.
    """
    videos = [path for path in _entries(folder) if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()]
    return _refuse_twins(folder, [path for path in videos if not path.name.startswith(".")])


def describe_contents(folder: Path) -> str:
    """What a folder holds, in words: '3 .mp4 files, 2 folders (a, b)' or 'nothing'."""
    entries = [p for p in _entries(folder) if not p.name.startswith(".")]
    kinds = Counter(p.suffix.lower() for p in entries if not p.is_dir())
    found = [counted(count, f"{kind or 'unnamed'} file") for kind, count in kinds.most_common()]
    if folders := list_folders(folder):
        found.append(f"{counted(len(folders), 'folder')} ({name_some([p.name for p in folders])})")
    return ", ".join(found) or "nothing"


def name_some(names: Sequence[str]) -> str:
    """The first few names and how many more there are."""
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def counted(number: int, noun: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def numbered_name(index: int, count: int | None) -> str:
    """Name of a frame that has none of its own: its number, with 5 digits, more where `count` needs them."""
    return f"{index:0{max(5, len(str((count or 1) - 1)))}d}"


def numbering_warnings(stems: Sequence[str]) -> list[str]:
    """What the numbers in the frames' names give away: missing frames, or a sampled video. Usually nothing.

    Looked at only where all names are the same text followed by a number.
    """
    matches = [re.fullmatch(r"(.*?)(\d+)", stem) for stem in stems]
    if len({match[1] if match else None for match in matches}) != 1:
        return []
    numbers = [int(match[2]) for match in matches if match]
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    usual = min(steps, default=1)
    if usual > 1 and len(steps) > 1 and set(steps) == {usual}:
        return [
            f"frame numbers go up in steps of {usual}: if these are samples of a denser video, "
            "masks get better with all of its frames"
        ]
    gaps = [f"after {earlier}" for earlier, step in zip(numbers, steps, strict=False) if step > 1]
    if usual != 1 or not gaps:
        return []
    missing = sum(step - 1 for step in steps)
    return [f"the numbering of the frames has gaps ({name_some(gaps)}): {missing} missing"]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
    except OSError as error:
        raise UsageError(f"folder {folder} cannot be read: {error.strerror}") from error
