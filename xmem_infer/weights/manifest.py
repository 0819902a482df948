"""The published checkpoints by name, and where on this machine a name is looked for."""

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
EMBEDDED = "xmem-tiny.safetensors"  # the small model that this project ships
_SUFFIXES = (".pth", ".pt", ".safetensors")
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class WeightsEntry:
    """One published file.

    sha256: hex, None where nobody published it. max_bytes: a download larger than this is refused. approx_bytes: for
    the reader only.
    """

    name: str
    description: str
    approx_bytes: int = 249_000_000
    url: str = ""
    max_bytes: int = 2**29
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not self.url:
            source = CUTIE_SOURCE if self.name.startswith("cutie") else SOURCE
            object.__setattr__(self, "url", f"{source.replace('tag', 'download')}/{self.name}")


PUBLISHED = (  # in the order in which `auto` prefers them
    WeightsEntry("XMem.pth", "the published default: static images, then YouTube-VOS and DAVIS"),
    WeightsEntry("XMem-s012.pth", "static images, then BL30K, then YouTube-VOS and DAVIS; the most accurate on DAVIS"),
    WeightsEntry("XMem-s2.pth", "YouTube-VOS and DAVIS only, no pretraining on images; for reference"),
    WeightsEntry(
        "XMem-no-sensory.pth",
        "without sensory memory, for frames that do not follow each other in space",
        approx_bytes=239_400_000,
    ),
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
    """`XMem.pth, XMem-s012.pth, ...`, for messages."""
    return ", ".join(entry.name for entry in PUBLISHED)


def find_entry(name: str) -> WeightsEntry | None:
    """The published file of a name, with or without its suffix, in any case; None for any other name."""
    wanted = name.lower()
    return next((e for e in PUBLISHED if wanted in (e.name.lower(), Path(e.name).stem.lower())), None)


def models_folder() -> Path:
    """Where the embedded model lies: inside the package in a wheel, in the folder `weights` in a checkout."""
    return _HERE if (_HERE / EMBEDDED).is_file() else _HERE.parent.parent / "weights"


def embedded_model() -> Path:
    """The small model that this project ships."""
    return models_folder() / EMBEDDED


def weights_folders() -> list[Path]:
    """Where checkpoints are looked for by name, in this order; FOLDER_VARIABLE, if set, replaces them all.

    The checkout's `weights/`, the current directory's `weights/`, the user's cache directory.
    """
    override = os.environ.get(FOLDER_VARIABLE)
    if override:
        return [Path(override).expanduser()]
    checkout = [models_folder()] if _in_checkout() else []
    return list(dict.fromkeys([*checkout, Path.cwd() / "weights", user_cache()]))


def download_folder() -> Path:
    """Where downloads go unless told otherwise: the variable's folder, the checkout's, else the cache."""
    folders = weights_folders()
    return folders[0] if os.environ.get(FOLDER_VARIABLE) or _in_checkout() else folders[-1]


def resolve_weights(name: str) -> Path:
    """The checkpoint file that `weights=name` means; where the name is a path, the reader says what is wrong with it.

    name: `auto` (the first published checkpoint present, else the embedded model), a path to a file, or a published
    name ("XMem", "xmem.pth"), looked for in `weights_folders()`, or the embedded model's. Raises WeightsError.
    """
    if name.lower() == "auto":
        return next(filter(None, map(_in_folders, PUBLISHED)), embedded_model())
    if name.lower() in (EMBEDDED, Path(EMBEDDED).stem):
        return embedded_model()
    path = Path(name).expanduser()
    if path.is_file():
        return path
    named = find_entry(name)
    if named is not None:
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
    """Sentences for an error message: where weights were looked for and how to get an entry."""
    searched = ", ".join(str(folder) for folder in weights_folders())
    return (
        f"Looked in {searched}. Fetch it with `{DOWNLOAD_COMMAND} {entry.name}` (or save {entry.url} in one of these "
        f"folders), then say weights={Path(entry.name).stem}; or give weights=PATH to a .pth, .pt or .safetensors "
        f"file. Published names: {published_names()}"
    )


def _in_checkout() -> bool:
    return models_folder() != _HERE


def _in_folders(entry: WeightsEntry) -> Path | None:
    paths = (folder / entry.name for folder in weights_folders())
    return next((path for path in paths if path.is_file()), None)
