"""The published checkpoints by name, the folders in which checkpoints are searched, and their known hashes."""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import WeightsError
from ..user_cache import user_cache

DOWNLOAD_COMMAND = "xmem-infer download"
FOLDER_VARIABLE = "XMEM_INFER_WEIGHTS"
SOURCE = "https://github.com/hkchengrex/XMem/releases/tag/v1.0"
CUTIE_SOURCE = "https://github.com/hkchengrex/Cutie/releases/tag/v1.0"
EMBEDDED = "xmem-tiny.safetensors"  # the small model included in this project
_SUFFIXES = (".pth", ".pt", ".safetensors")
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class WeightsEntry:
    """A published checkpoint."""

    name: str
    description: str
    approx_bytes: int = 249_000_000  # for display only
    url: str = ""
    max_bytes: int = 2**29  # larger downloads are refused
    sha256: str | None = None  # hex; None if it was never published

    def __post_init__(self) -> None:
        if not self.url:
            source = CUTIE_SOURCE if self.name.startswith("cutie") else SOURCE
            object.__setattr__(self, "url", f"{source.replace('tag', 'download')}/{self.name}")


PUBLISHED = (  # in the order in which `auto` prefers them
    WeightsEntry("XMem.pth", "the published default: static images, then YouTube-VOS and DAVIS"),
    WeightsEntry("XMem-s012.pth", "static images, then BL30K, then YouTube-VOS and DAVIS; the most accurate on DAVIS"),
    WeightsEntry("XMem-s2.pth", "YouTube-VOS and DAVIS only, no pretraining on images; for reference"),
    WeightsEntry("XMem-no-sensory.pth", "without sensory memory, for frames without spatial continuity", 239_400_000),
    *(
        WeightsEntry(f"cutie-{size}-{data}.pth", f"Cutie {size}: {description}", approx_bytes)
        for size, approx_bytes in (("base", 140_443_788), ("small", 115_200_000))
        for data, description in (
            ("mega", "YouTube-VOS, DAVIS, MOSE, OVIS and BURST"),
            ("wmose", "YouTube-VOS, DAVIS and MOSE"),
            ("nomose", "YouTube-VOS and DAVIS, as XMem"),
        )
    ),
)


def published_names() -> str:
    """Return the names of all published files, comma-separated, for messages."""
    return ", ".join(entry.name for entry in PUBLISHED)


def find_entry(name: str) -> WeightsEntry | None:
    """Return the published file of a name, given with or without suffix and in any case; None if there is none."""
    wanted = name.lower()
    return next((e for e in PUBLISHED if wanted in (e.name.lower(), Path(e.name).stem.lower())), None)


def models_folder() -> Path:
    """Return the folder of the embedded model: inside the package in a wheel, `weights/` in a checkout."""
    return _HERE if (_HERE / EMBEDDED).is_file() else _HERE.parent.parent / "weights"


def embedded_model() -> Path:
    return models_folder() / EMBEDDED


def weights_folders() -> list[Path]:
    """Return the folders in which checkpoints are searched by name, in order.

    The environment variable FOLDER_VARIABLE, if set, replaces all others.
    """
    if override := os.environ.get(FOLDER_VARIABLE):
        return [Path(override).expanduser()]
    checkout = [models_folder()] if models_folder() != _HERE else []
    return list(dict.fromkeys([*checkout, Path.cwd() / "weights", user_cache()]))


def download_folder() -> Path:
    """Return the default folder for downloads: that of FOLDER_VARIABLE, else the checkout's, else the user's cache."""
    folders = weights_folders()
    return folders[0] if models_folder() != _HERE else folders[-1]


def resolve_weights(name: str) -> Path:
    """Return the checkpoint file that `weights=name` refers to.

    name: `auto` (the first published checkpoint that is present, else the embedded model), a path, a published name
    ("XMem", "xmem.pth") to search in `weights_folders()`, or the name of the embedded model. A path need not exist:
    reading the file reports what is wrong with it. Raises WeightsError if the name is unknown, or the published file is
    not on this machine.
    """
    if name.lower() == "auto":
        return next(filter(None, map(_in_folders, PUBLISHED)), embedded_model())
    if name.lower() in (EMBEDDED, Path(EMBEDDED).stem):
        return embedded_model()
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if named := find_entry(name):
        if found := _in_folders(named):
            return found
        raise WeightsError(f"weights={name}: {named.name} is not on this machine. {how_to_get(named)}")
    if path.exists() or len(path.parts) > 1 or path.suffix.lower() in _SUFFIXES:
        return path
    close = difflib.get_close_matches(name, [n for e in PUBLISHED for n in (Path(e.name).stem, e.name)], 1)
    raise WeightsError(
        f"weights={name} is neither a file nor a known name"
        f"{f' (did you mean {close[0]}?)' if close else ''}; known: auto, {Path(EMBEDDED).stem}, {published_names()}"
    )


def how_to_get(entry: WeightsEntry = PUBLISHED[0]) -> str:
    """Return text for an error message: which folders were searched and how to get this checkpoint."""
    searched = ", ".join(str(folder) for folder in weights_folders())
    return (
        f"Looked in {searched}. Fetch it with `{DOWNLOAD_COMMAND} {entry.name}` (or save {entry.url} in one of these "
        f"folders), then say weights={Path(entry.name).stem}; or give weights=PATH to a .pth, .pt or .safetensors "
        f"file. Published names: {published_names()}"
    )


def _in_folders(entry: WeightsEntry) -> Path | None:
    paths = (folder / entry.name for folder in weights_folders())
    return next((path for path in paths if path.is_file()), None)


def record_of(path: Path) -> Path:
    """Return the path of the file beside a checkpoint that records its hash, in the format of `sha256sum`."""
    return path.with_name(f"{path.name}.sha256")


def recorded_hash(path: Path) -> str | None:
    """Return the sha256 recorded when the file at `path` was downloaded, or None. Raises WeightsError if unreadable."""
    record = record_of(path)
    try:
        return record.read_text(encoding="utf-8").split()[0] if record.exists() else None
    except (OSError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{record} cannot be read ({error}): it holds the hash of downloaded weights. Delete it if you trust the "
            f"file beside it"
        ) from error


def require_hash(path: Path, sha256: str, entry: WeightsEntry | None = None) -> str | None:
    """Raise WeightsError if `sha256` differs from the hash known for the file at `path`, which need not exist yet.

    The hash in `entry`, or in the published file of that name, takes precedence over the record. Returns where the
    known hash comes from, or None if there is none.
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
