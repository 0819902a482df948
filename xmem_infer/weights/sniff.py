"""What a file is by its first bytes, and what a pickle in it would run. Nothing here unpickles anything."""

import json
import pickletools
import re
import zipfile
from enum import Enum
from pathlib import Path
from typing import IO

HEAD_BYTES = 512
SAFETENSORS_HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_LEGACY_MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # torch's magic number, little endian
_LFS_POINTER = b"version https://git-lfs"
_PICKLES_IN_LEGACY_FILE = 5  # magic number, protocol, system, object, storage keys; raw bytes follow
_PICKLE_SCAN_BYTES = 64 * 2**20

# What a plain dict of tensors refers to; every other global is a call the file asks for.
_ORDINARY_GLOBAL = re.compile(
    r"collections\.OrderedDict"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_\w+"
    r"|torch(\.storage)?\.\w*Storage|torch\.(Size|Tensor|device|serialization\._get_layout)"
    r"|torch\.(float|bfloat|complex|int|uint)\d+\w*|torch\.(bool|strided)"
)


class Kind(Enum):
    """A file's kind by content."""

    web_page = "a web page (HTML)"
    lfs_pointer = "a Git LFS pointer"
    safetensors = "safetensors"
    torch_zip = "PyTorch (zip)"
    torch_legacy = "PyTorch (before 1.6)"
    pickle = "a Python pickle"
    unknown = "unknown"


def kind_of(head: bytes) -> Kind:
    """The kind of a file from its first HEAD_BYTES bytes; a cut head counts as what it is the beginning of."""
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= SAFETENSORS_HEADER_LIMIT:
        return Kind.safetensors
    if looks_like_web_page(head):
        return Kind.web_page
    if head.startswith(_LFS_POINTER):
        return Kind.lfs_pointer
    if head.startswith(_ZIP) or (head and _ZIP.startswith(head)):
        return Kind.torch_zip
    if head.startswith(_PICKLE):
        return Kind.torch_legacy if _LEGACY_MAGIC in head[:32] else Kind.pickle
    return Kind.unknown


def looks_like_web_page(head: bytes) -> bool:
    """Whether the text begins with a tag: no checkpoint does (a byte order mark and blanks are skipped)."""
    return re.match(rb"(\xef\xbb\xbf)?\s*<[!?a-zA-Z]", head) is not None


def is_torch_archive(path: Path) -> bool:
    """Whether a whole zip file holds a PyTorch checkpoint. Raises ValueError where its directory is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _pickle_entry(archive) is not None
    except Exception as error:  # damaged bytes make the reader raise anything
        raise ValueError(f"its directory cannot be read ({error})") from error


def bytes_of_whole_safetensors(path: Path) -> int:
    """The size that the header of a safetensors file implies (header alone if even that is cut). Raises ValueError."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = file.read(header_bytes)
    if len(header) < header_bytes:
        return 8 + header_bytes
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        return 8 + header_bytes + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"its header cannot be read ({error})") from error


def globals_asked_for(path: Path, kind: Kind) -> list[str]:
    """Dotted names, beyond those of plain tensors, that the pickles in a file would call; read, never run.

    A damaged pickle is scanned up to the damage.
    """
    try:
        if kind is not Kind.torch_zip:
            with path.open("rb") as file:
                return _scan(file, _PICKLES_IN_LEGACY_FILE)
        with zipfile.ZipFile(path) as archive:
            entry = _pickle_entry(archive)
            if entry is None or archive.getinfo(entry).file_size > _PICKLE_SCAN_BYTES:
                return []
            with archive.open(entry) as file:
                return _scan(file, 1)
    except Exception:  # damaged bytes make the reader raise anything
        return []


def _pickle_entry(archive: zipfile.ZipFile) -> str | None:
    return next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)


def _scan(file: IO[bytes], pickles: int) -> list[str]:
    names: list[str] = []
    strings: list[str] = []  # as pushed: STACK_GLOBAL takes its two names from the last ones
    try:
        for _ in range(pickles):
            memo: dict[int, str] = {}
            top = ""  # the value just pushed, where it is a string
            for opcode, argument, _position in pickletools.genops(file):
                if opcode.name in ("GLOBAL", "INST"):
                    names.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    names.append(".".join(strings[-2:]))
                elif "PUT" in opcode.name or opcode.name == "MEMOIZE":
                    memo[len(memo) if argument is None else int(argument)] = top
                    continue  # leaves the top where it is
                if opcode.name.endswith("GET"):
                    argument = memo.get(int(argument or 0))
                top = argument if isinstance(argument, str) else ""
                if top:
                    strings.append(top)
    except Exception:  # damaged bytes make the parser raise anything; what was seen until then counts
        pass
    return [name for name in dict.fromkeys(names) if not _ORDINARY_GLOBAL.fullmatch(name)]
