"""The published checkpoints by name, and where on this machine a name is looked for."""

import difflib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import WeightsError

DOWNLOAD_COMMAND = "python scripts/download_weights.py"
FOLDER_VARIABLE = "XMEM_INFER_WEIGHTS"
_SUFFIXES = (".pth", ".pt", ".safetensors")
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class WeightsEntry:
    """One published file.

    sha256: hex, None where nobody published it. max_bytes: a download larger than this is refused. approx_bytes: for
    the reader only.
    """

    name: str
    url: str
    description: str
    max_bytes: int
    approx_bytes: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name) or self.name.startswith("."):
            raise ValueError(f"name={self.name!r} must be a plain file name")
        if not re.match(r"https?://", self.url):
            raise ValueError(f"url={self.url!r} must begin with https:// or http://")
        if self.max_bytes < 1:
            raise ValueError(f"max_bytes={self.max_bytes} must be at least 1")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256={self.sha256!r} must be 64 lower-case hex digits or null")


@dataclass(frozen=True)
class Manifest:
    """The published files, in the order in which `auto` prefers them; embedded: the file this project ships."""

    source: str
    files: tuple[WeightsEntry, ...]
    embedded: str

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.files]

    def find(self, name: str) -> WeightsEntry | None:
        """The entry of a file name, with or without its suffix, in any case; None for any other name."""
        wanted = name.lower()
        return next((e for e in self.files if wanted in (e.name.lower(), Path(e.name).stem.lower())), None)


def manifest_path() -> Path:
    """The manifest: inside the package in a wheel, in the folder `weights` in a checkout."""
    packaged = _HERE / "manifest.json"
    return packaged if packaged.is_file() else _HERE.parent.parent / "weights" / "manifest.json"


def load_manifest(path: Path | None = None) -> Manifest:
    """Read the manifest (by default this project's own). Raises WeightsError where it is missing or malformed."""
    path = path or manifest_path()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(WeightsEntry(**fields) for fields in content["files"])
        return Manifest(content["source"], files, content["embedded"])
    except OSError as error:
        raise WeightsError(f"the list of published weights {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"the list of published weights {path} is damaged: {error}") from error


def weights_folders() -> list[Path]:
    """Where checkpoints are looked for by name, in this order; FOLDER_VARIABLE, if set, replaces them all.

    The checkout's `weights/`, the current directory's `weights/`, the user's cache directory.
    """
    override = os.environ.get(FOLDER_VARIABLE)
    if override:
        return [Path(override).expanduser()]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "xmem_infer"
    checkout = [manifest_path().parent] if _in_checkout() else []
    return list(dict.fromkeys([*checkout, Path.cwd() / "weights", cache]))


def embedded_model() -> Path:
    """The small model that this project ships, beside the manifest."""
    return manifest_path().parent / load_manifest().embedded


def download_folder() -> Path:
    """Where downloads go unless told otherwise: the variable's folder, the checkout's, else the cache."""
    folders = weights_folders()
    return folders[0] if os.environ.get(FOLDER_VARIABLE) or _in_checkout() else folders[-1]


def resolve_weights(name: str) -> Path:
    """The checkpoint file that `weights=name` means; where the name is a path, the reader says what is wrong with it.

    name: `auto` (the first published checkpoint present, in the manifest's order, else the embedded model), a path to a
    file, or a name of the manifest ("XMem", "xmem.pth"), looked for in `weights_folders()`, or the embedded model's.
    Raises WeightsError.
    """
    manifest = load_manifest()
    if name.lower() == "auto":
        return next(filter(None, map(_in_folders, manifest.files)), embedded_model())
    if name.lower() in (manifest.embedded, Path(manifest.embedded).stem):
        return embedded_model()
    path = Path(name).expanduser()
    if path.is_file():
        return path
    named = manifest.find(name)
    if named is not None:
        if found := _in_folders(named):
            return found
        raise WeightsError(f"weights={name}: {named.name} is not on this machine. {how_to_get(named)}")
    if path.exists() or len(path.parts) > 1 or path.suffix.lower() in _SUFFIXES:
        return path
    close = difflib.get_close_matches(name, [n for e in manifest.files for n in (Path(e.name).stem, e.name)], 1)
    raise WeightsError(
        f"weights={name} is neither a file nor a known name"
        f"{f' (did you mean {close[0]}?)' if close else ''}; known: auto, {Path(manifest.embedded).stem}, "
        f"{', '.join(manifest.names)}"
    )


def how_to_get(entry: WeightsEntry | None = None) -> str:
    """Sentences for an error message: where weights were looked for and how to get an entry, or any at all."""
    manifest = load_manifest()
    wanted = entry or manifest.files[0]
    searched = ", ".join(str(folder) for folder in weights_folders())
    return (
        f"Looked in {searched}. Fetch it with `{DOWNLOAD_COMMAND} {wanted.name}` (or save {wanted.url} in one of these "
        f"folders), then say weights={Path(wanted.name).stem}; or give weights=PATH to a .pth, .pt or .safetensors "
        f"file. Published names: {', '.join(manifest.names)}"
    )


def _in_checkout() -> bool:
    return manifest_path().parent != _HERE


def _in_folders(entry: WeightsEntry) -> Path | None:
    paths = (folder / entry.name for folder in weights_folders())
    return next((path for path in paths if path.is_file()), None)
