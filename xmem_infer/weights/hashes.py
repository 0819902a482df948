"""Expected hashes of checkpoints: published ones, and those recorded beside a file when it was first downloaded."""

from pathlib import Path

from ..errors import WeightsError
from .manifest import WeightsEntry, find_entry


def record_of(path: Path) -> Path:
    """Return the path of the file beside a checkpoint that records its hash, in the format of `sha256sum`."""
    return path.with_name(f"{path.name}.sha256")


def recorded_hash(path: Path) -> str | None:
    """Return the sha256 recorded for the file at `path`, which need not exist yet; None if there is no record.

    Raises:
        WeightsError: The record cannot be read.
    """
    record = record_of(path)
    try:
        return record.read_text(encoding="utf-8").split()[0] if record.exists() else None
    except (OSError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{record} cannot be read ({error}): it holds the hash of downloaded weights. Delete it if you trust the "
            f"file beside it"
        ) from error


def require_hash(path: Path, sha256: str, entry: WeightsEntry | None = None) -> str | None:
    """Compare a hash with the one known for the file at `path`, which need not exist yet.

    Args:
        path: The checkpoint.
        sha256: Hash to compare.
        entry: Published file whose hash takes precedence over the record; None: the entry of the file's name, if any.

    Returns:
        Where the known hash comes from; None if no hash is known.

    Raises:
        WeightsError: The hashes differ.
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
