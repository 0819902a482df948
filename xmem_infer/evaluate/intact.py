"""Whether a finished video's results are still there, and whole."""

import hashlib
import zipfile
from pathlib import Path

from PIL import Image

CHUNK_BYTES = 1 << 20


def described(path: Path) -> int | str:
    """What a record keeps of an output: of a folder how many files it holds, of a file its sha256."""
    if path.is_dir():
        return len(_files(path))
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def damage(path: Path, recorded: int | str | None, size: tuple[int, int]) -> str | None:
    """What is wrong with an output, in words; None: nothing.

    A mask that was corrected by hand is still whole: of a folder's files only what makes them unreadable is damage.

    Args:
        path: The output.
        recorded: What `described` said of it; None in records older than this check.
        size: (H, W) px of the video, which its masks must have.
    """
    name = f"{path.parent.name}/{path.name}"
    if not path.exists():
        return f"{name} is gone"
    try:
        if not path.is_dir():
            changed = recorded != described(path) if recorded else path.stat().st_size == 0
            return f"{name} is not as it was written" if changed else None
        files = _files(path)
        if isinstance(recorded, int) and len(files) < recorded:  # file managers and editors leave files of theirs
            return f"{name} holds {len(files)} files of {recorded}"
        broken = [file.name for file in files if not _readable(file, size)]
    except OSError as error:
        return f"{name} cannot be read ({error.strerror or error})"
    return f"{name}/{broken[0]} is damaged{f', and {len(broken) - 1} more' * (len(broken) > 1)}" if broken else None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _readable(path: Path, size: tuple[int, int]) -> bool:
    """Whether a file's checksums hold (both formats have them, so nothing is decoded), and a mask has its size."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.verify()
                return image.size == size[::-1]
    except Exception:  # Pillow raises all kinds, by what is broken
        return False
    return path.stat().st_size > 0
