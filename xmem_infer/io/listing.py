"""List the images, videos and sub-folders of a folder in natural order, and describe its contents in messages."""

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
MAX_NAMED = 3  # names listed in a message; of the others only the number is given


def existing_path(text: str, key: str) -> Path:
    """Return the path given for the setting `key`. Raises UsageError if it does not exist."""
    path = Path(text).expanduser()
    if not path.exists():
        from_where = "" if path.is_absolute() else f" (seen from {Path.cwd()})"
        raise UsageError(f"{key}={text} does not exist{from_where}")
    return path


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sort key that puts 2 before 10; the second element orders names that differ only in case or zeros."""
    parts: list[str | int] = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.casefold())]
    return parts, name


def is_image_name(path: Path) -> bool:
    """Return whether the file name has an image suffix (in any case) and is not hidden, like `._1.jpg`."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path) -> list[Path]:
    """Return the image files of `folder` in natural order of their names; all other files are ignored.

    Broken links are included, so that a lost frame is reported instead of silently skipped. Raises UsageError if two
    files share a stem, so that their masks would get the same name.
    """
    return _files(folder, IMAGE_SUFFIXES)


def list_videos(folder: Path) -> list[Path]:
    """Return the files of `folder` with a video suffix, as `list_images` does."""
    return _files(folder, VIDEO_SUFFIXES)


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    by_stem: dict[str, Path] = {}
    for file in _entries(folder):
        if file.suffix.lower() not in suffixes or file.is_dir():
            continue
        if (other := by_stem.setdefault(file.stem, file)) is not file:
            raise UsageError(
                f"{folder}: {other.name} and {file.name} have the same name but for their ending, so it is not "
                "clear which one is meant; keep one of them here (masks go into a folder of their own)"
            )
    return list(by_stem.values())


def list_folders(folder: Path) -> list[Path]:
    """Return the sub-folders of `folder` in natural order.

    Broken links without suffix are included, so that a lost video is reported instead of silently skipped.
    """
    return [p for p in _entries(folder) if p.is_dir() or (not p.suffix and p.is_symlink() and not p.exists())]


def describe_contents(folder: Path) -> str:
    """Describe the contents of a folder, for example "3 .mp4 files, 2 folders (a, b)" or "nothing"."""
    kinds = Counter(p.suffix.lower() for p in _entries(folder) if not p.is_dir())
    parts = [counted(count, f"{kind or 'unnamed'} file") for kind, count in kinds.most_common()]
    if folders := list_folders(folder):
        parts.append(f"{counted(len(folders), 'folder')} ({name_some([p.name for p in folders])})")
    return ", ".join(parts) or "nothing"


def name_some(names: Sequence[str]) -> str:
    """Join the first few names and append how many more there are."""
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def counted(number: int, noun: str) -> str:
    """Return the number with the noun in singular or plural: "1 frame", "2 frames"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def numbered_name(index: int, count: int | None) -> str:
    """Return the name of a frame without a file name: its index with at least 5 digits, or as many as `count` needs."""
    return f"{index:0{max(5, len(str((count or 1) - 1)))}d}"


def numbering_warnings(stems: Sequence[str]) -> list[str]:
    """Return warnings if the numbers in frame names show missing frames or a regularly sampled video.

    Names are only checked if all of them are the same text followed by a number.
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
    """Return the entries of `folder` that are not hidden, in natural order."""
    try:
        shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise UsageError(f"folder {folder} cannot be read: {error.strerror}") from error
    return sorted(shown, key=lambda path: natural_key(path.name))
