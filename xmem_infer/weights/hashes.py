"""Hashes a checkpoint must have: a published one, or the one recorded beside the file when it was first downloaded."""

from pathlib import Path

from ..errors import WeightsError
from .manifest import WeightsEntry, find_entry


def record_of(path: Path) -> Path:
    """The file beside a checkpoint that holds its hash, as `sha256sum` writes and checks it."""
    return path.with_name(f"{path.name}.sha256")


def recorded_hash(path: Path) -> str | None:
    """The sha256 recorded beside the file that is, or will be, at `path`; None where none is. Raises WeightsError."""
    record = record_of(path)
    try:
        return record.read_text(encoding="utf-8").split()[0] if record.exists() else None
    except (OSError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{record} cannot be read ({error}): it holds the hash of downloaded weights. Delete it if you trust the "
            f"file beside it"
        ) from error


def require_hash(path: Path, sha256: str, entry: WeightsEntry | None = None) -> str | None:
    """Compare the hash of the file that is, or will be, at `path` with the one known for it.

    entry: whose published hash outweighs the record; None: the one of the file's name, if there is one. Returns where
    the known hash stands, None where none is known. Raises WeightsError naming both hashes where they differ.
    """
    entry = entry or find_entry(path.name)
    if entry is not None and entry.sha256 is not None:
        known, source = entry.sha256, "the list of published files (weights/manifest.py)"
        remedy = "If it is a checkpoint of your own, give it another name; otherwise delete it and download it again"
    elif record := recorded_hash(path):
        known, source = record, str(record_of(path))
        remedy = (
            f"If the change was wanted, delete {record_of(path).name}; otherwise delete the file and download it again"
        )
    else:
        return None
    if sha256 != known:
        raise WeightsError(f"{path} has sha256 {sha256}, but {source} says {known}. {remedy}")
    return source
