"""Detect the format of a file from its first bytes, and find what a pickle in it would call, without running it."""

import json
import pickle
import re
from enum import Enum
from pathlib import Path
from typing import NoReturn

import torch

HEAD_BYTES = 512
SAFETENSORS_HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
_ZIP = b"PK\x03\x04"
_LEGACY_MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # magic number of torch's old format, little endian


class Kind(Enum):
    web_page = "a web page (HTML)"
    lfs_pointer = "a Git LFS pointer"
    safetensors = "safetensors"
    torch_zip = "PyTorch (zip)"
    torch_legacy = "PyTorch (before 1.6)"
    pickle = "a Python pickle"
    unknown = "unknown"


def kind_of(head: bytes) -> Kind:
    """Detect the kind of a file from its first HEAD_BYTES bytes; a truncated signature counts as complete."""
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= SAFETENSORS_HEADER_LIMIT:
        return Kind.safetensors
    if re.match(rb"(\xef\xbb\xbf)?\s*<[!?a-zA-Z]", head):  # a tag, after an optional byte order mark and blanks
        return Kind.web_page
    if head.startswith(b"version https://git-lfs"):
        return Kind.lfs_pointer
    if head.startswith(_ZIP) or (head and _ZIP.startswith(head)):
        return Kind.torch_zip
    if head.startswith(b"\x80"):
        return Kind.torch_legacy if _LEGACY_MAGIC in head[:32] else Kind.pickle
    return Kind.unknown


def bytes_of_whole_safetensors(path: Path) -> int:
    """Return the size of a safetensors file in bytes according to its header, or of the header if that is truncated.

    Raises ValueError if the header cannot be parsed.
    """
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


def globals_asked_for(path: Path, kind: Kind, refusal: str) -> list[str]:
    """Return the dotted names, other than those for plain tensors, that the pickle in a file would call.

    None of them is called. refusal: torch's error message from loading the file, the only source for its old format.
    """
    try:
        if kind is Kind.torch_zip:
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        if kind is Kind.pickle:
            with path.open("rb") as file:
                _RefusingUnpickler(file).load()
    except _GlobalAskedFor as asked:
        return [str(asked)]
    except Exception:  # a damaged file can raise any exception
        return []
    return re.findall(r"GLOBAL (\S+\.\w+) (?:was not an allowed|whose module)", refusal)


class _GlobalAskedFor(Exception):
    pass


class _RefusingUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise _GlobalAskedFor(f"{module}.{name}")
