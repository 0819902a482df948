"""Hashes a checkpoint must have: pinned in the manifest, or recorded beside the file when it was first downloaded."""

import json
import os
from datetime import datetime, timezone
from pathlib import Path

from ..errors import EnvironmentFault, WeightsError
from .manifest import WeightsEntry, manifest_path

LOCK_NAME = "downloads.lock.json"


def require_hash(path: Path, sha256: str, entry: WeightsEntry | None) -> str | None:
    """Compare the hash of the file that is, or will be, at `path` with the one known for it.

    The manifest's entry outweighs the lock file. Returns where the known hash stands, None where none is known. Raises
    WeightsError naming both hashes where they differ.
    """
    lock = path.parent / LOCK_NAME
    if entry is not None and entry.sha256 is not None:
        known, source = entry.sha256, manifest_path()
        remedy = "If it is a checkpoint of your own, give it another name; otherwise delete it and download it again"
    else:
        record = read_lock(path.parent).get(path.name)
        if record is None:
            return None
        known, source = record, lock
        remedy = (
            f"If the change was wanted, delete the entry {path.name} of {lock.name}; otherwise delete the file and "
            f"download it again"
        )
    if sha256 != known:
        raise WeightsError(f"{path} has sha256 {sha256}, but {source} says {known}. {remedy}")
    return str(source)


def read_lock(folder: Path) -> dict[str, str]:
    """File name -> sha256 of what was downloaded into a folder; empty where nothing was."""
    return {name: str(fields["sha256"]) for name, fields in _read(folder).items()}


def record_hash(path: Path, sha256: str, url: str) -> None:
    """Write a file's hash into the lock file beside it. Call while holding the folder's download lock."""
    records = _read(path.parent)
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    records[path.name] = {"sha256": sha256, "bytes": path.stat().st_size, "url": url, "recorded": when}
    lock = path.parent / LOCK_NAME
    unfinished = lock.with_name(f"{LOCK_NAME}.part")
    try:
        unfinished.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(unfinished, lock)
    except OSError as error:
        raise EnvironmentFault(f"the hash of {path.name} cannot be written to {lock}: {error.strerror}") from error


def _read(folder: Path) -> dict[str, dict[str, str | int]]:
    lock = folder / LOCK_NAME
    try:
        records = json.loads(lock.read_text(encoding="utf-8"))
        for fields in records.values():
            if not isinstance(fields["sha256"], str):
                raise TypeError("sha256 must be text")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{lock} cannot be read ({error}): it holds the hashes of downloaded weights. Delete it if you trust the "
            f"files beside it"
        ) from error
    return dict(records)
