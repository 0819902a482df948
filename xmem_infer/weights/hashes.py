"""Hashes a checkpoint must have: pinned in the manifest, or recorded beside the file when it was first downloaded."""

from pathlib import Path

from ..errors import EnvironmentFault, WeightsError
from .manifest import WeightsEntry, manifest_path


def record_of(path: Path) -> Path:
    """The file beside a checkpoint that holds its hash, as `sha256sum` writes and checks it."""
    return path.with_name(f"{path.name}.sha256")


def recorded_hash(path: Path) -> str | None:
    """The sha256 recorded beside the file that is, or will be, at `path`; None where none is."""
    record = record_of(path)
    try:
        return record.read_text(encoding="utf-8").split()[0]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{record} cannot be read ({error}): it holds the hash of downloaded weights. Delete it if you trust the "
            f"file beside it"
        ) from error


def record_hash(path: Path, sha256: str) -> None:
    """Record the sha256 of the file at `path`, unless it stands there already."""
    if recorded_hash(path) == sha256:
        return
    try:
        record_of(path).write_text(f"{sha256}  {path.name}\n", encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(f"{record_of(path)} cannot be written: {error.strerror}") from error


def require_hash(path: Path, sha256: str, entry: WeightsEntry | None) -> str | None:
    """Compare the hash of the file that is, or will be, at `path` with the one known for it.

    Returns:
        Where the known hash stands (the manifest outweighs the record), None where none is known.

    Raises:
        WeightsError: They differ; names both.
    """
    if entry is not None and entry.sha256 is not None:
        known, source = entry.sha256, manifest_path()
        remedy = "If it is a checkpoint of your own, give it another name; otherwise delete it and download it again"
    else:
        record = recorded_hash(path)
        if record is None:
            return None
        known, source = record, record_of(path)
        remedy = f"If the change was wanted, delete {source.name}; otherwise delete the file and download it again"
    if sha256 != known:
        raise WeightsError(f"{path} has sha256 {sha256}, but {source} says {known}. {remedy}")
    return str(source)
