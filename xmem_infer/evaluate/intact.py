"""Integrity checks of the results of finished videos."""

import hashlib
import zipfile
from pathlib import Path

from PIL import Image

CHUNK_BYTES = 1 << 20


def summarize(path: Path) -> int | str:
    """Return what a record stores about an output: the number of files of a folder, or the sha256 of a file."""
    if path.is_dir():
        return len(_files(path))
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def find_damage(path: Path, recorded: int | str | None, size: tuple[int, int]) -> str | None:
    """Return a message that says how an output is damaged, or None if it is intact.

    A mask that was corrected by hand is intact: files in a folder are only checked for being readable.

    Args:
        path: The output.
        recorded: What `summarize` returned when the output was written; None in records of versions that lack it.
        size: (H, W) of the video in px, which its masks must have.
    """
    name = f"{path.parent.name}/{path.name}"
    if not path.exists():
        return f"{name} is missing"
    try:
        if not path.is_dir():
            changed = recorded != summarize(path) if recorded else path.stat().st_size == 0
            return f"{name} is not as it was written" if changed else None
        files = _files(path)
        if isinstance(recorded, int) and len(files) < recorded:  # more is fine: file managers and editors add files
            return f"{name} holds {len(files)} files of {recorded}"
        broken = [file.name for file in files if not _is_readable(file, size)]
    except OSError as error:
        return f"{name} cannot be read ({error.strerror or error})"
    return f"{name}/{broken[0]} is damaged{f', and {len(broken) - 1} more' * (len(broken) > 1)}" if broken else None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_readable(path: Path, size: tuple[int, int]) -> bool:
    """Check a file's checksums, which needs no decoding, and the size of a mask."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.verify()
                return image.size == size[::-1]
    except Exception:  # Pillow raises many kinds of errors on damaged files
        return False
    return path.stat().st_size > 0
