"""Read checkpoint files: PyTorch's (both formats) and safetensors. Code inside a file is never run."""

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import WeightsError
from ..io.listing import name_some
from .manifest import DOWNLOAD_COMMAND, how_to_get
from .sniff import HEAD_BYTES, Kind, bytes_of_whole_safetensors, globals_asked_for, kind_of

WRAPPERS = ("state_dict", "model", "network", "weights")  # keys under which some training programs nest the state dict
_NAMES_SHOWN = 40
_FETCH_AGAIN = f"Get it again (published ones: {DOWNLOAD_COMMAND})"
_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
_DTYPES = _FLOATS | {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool}


@dataclass(frozen=True)
class CheckpointFile:
    """The content of a checkpoint file, on the CPU.

    Tensors are memory-mapped if the format allows it: writing to them does not change the file, but the file must not
    be overwritten in place meanwhile (replacing it by a rename is safe).
    """

    path: Path
    tensors: dict[str, torch.Tensor]  # by name, unconverted
    sha256: str  # of the whole file, hex
    metadata: dict[str, str]  # text stored beside the tensors in safetensors files, else empty


def read_checkpoint(path: Path) -> CheckpointFile:
    """Read a checkpoint. Its format is detected from the content; only the suffix `.safetensors` is checked against it.

    Raises WeightsError if the file is missing, a folder, unreadable, empty, a web page, truncated, damaged, contains
    code, is not a checkpoint or not a dict of tensors, or holds values that are not finite.
    """
    head, sha256 = _head_and_hash(path)
    kind = kind_of(head)
    if not head:
        raise WeightsError(f"{path} is empty (0 bytes). {_FETCH_AGAIN}")
    if kind is Kind.web_page:
        raise WeightsError(
            f"{path} is a web page (HTML), not a checkpoint: a browser or proxy saved the page in place of the "
            f"file. {_FETCH_AGAIN}"
        )
    if kind is Kind.lfs_pointer:
        raise WeightsError(f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` where it is from")
    if path.suffix.lower() == ".safetensors" and kind is not Kind.safetensors:
        raise WeightsError(
            f"{path} is named .safetensors but is none (found: {kind.value}, {path.stat().st_size:,} bytes): "
            f"it is cut off, damaged or of another format"
        )
    if kind is Kind.unknown:
        raise WeightsError(
            f"{path} is not a checkpoint: it begins with {head[:8]!r} ({path.stat().st_size:,} bytes). Readable are "
            f"PyTorch files (.pth, .pt) and .safetensors"
        )
    content, metadata = _read_safetensors(path) if kind is Kind.safetensors else (_read_torch(path, kind), {})
    tensors = _dict_of_tensors(content, path)
    _require_finite(tensors, path)
    return CheckpointFile(path, tensors, sha256, metadata)


def check_names(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Raise a WeightsError that lists all missing, unexpected and misshapen entries, if there are any.

    found, expected: Shapes by name, in the file and in the network.
    """
    groups = {
        "missing in the file": [f"{name} {shape}" for name, shape in expected.items() if name not in found],
        "unexpected in the file": [f"{name} {shape}" for name, shape in found.items() if name not in expected],
        "of another shape": [
            f"{name}: {found[name]} in the file, {shape} in the network"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
    }
    if any(groups.values()):
        head = f"{path} does not fit the network ({len(found)} entries found, {len(expected)} expected)"
        lists = (f"\n{len(names)} {title}:{_listed(names)}" for title, names in groups.items() if names)
        raise WeightsError(head + "".join(lists))


def _head_and_hash(path: Path) -> tuple[bytes, str]:
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            raise WeightsError(f"{path} is a folder: weights must name one file (.pth, .pt or .safetensors)")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            digest.update(head)
            while block := file.read(2**20):
                digest.update(block)
    except FileNotFoundError:
        raise WeightsError(f"there is no weights file at {path}. {how_to_get()}") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    return head, digest.hexdigest()


def _read_torch(path: Path, kind: Kind) -> object:
    size = f"{path.stat().st_size:,} bytes"
    if kind is Kind.pickle:
        _refuse_code(path, kind, "")
        raise WeightsError(f"{path} is a Python pickle, not a checkpoint that PyTorch wrote ({size})")
    try:
        if kind is Kind.torch_zip and not any(n.endswith("/data.pkl") for n in zipfile.ZipFile(path).namelist()):
            raise WeightsError(f"{path} is a zip archive, not a checkpoint: it holds no data.pkl")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=kind is Kind.torch_zip)
    except WeightsError:
        raise
    except Exception as error:  # a damaged file can raise any exception
        _refuse_code(path, kind, str(error))
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise WeightsError(f"{path} is cut off or damaged ({size}): {reason}. {_FETCH_AGAIN}") from error


def _refuse_code(path: Path, kind: Kind, refusal: str) -> None:
    if names := globals_asked_for(path, kind, refusal):
        raise WeightsError(
            f"{path} wants to run code and was not loaded: its pickle calls {name_some(names)}. A checkpoint needs "
            f"tensors only: save `network.state_dict()` with torch.save, or as .safetensors"
        )


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        size, whole = path.stat().st_size, bytes_of_whole_safetensors(path)
        if size < whole:
            raise WeightsError(f"{path} is cut off: {size:,} bytes found, at least {whole:,} expected. {_FETCH_AGAIN}")
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise WeightsError(f"{path} is damaged: {error}. {_FETCH_AGAIN}") from error


def _dict_of_tensors(content: object, path: Path) -> dict[str, torch.Tensor]:
    if isinstance(content, Mapping):
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        content = inner[0] if len(inner) == 1 else content
    if not isinstance(content, Mapping) or not content:
        what = "an empty dict" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise WeightsError(f"{path} holds {what}, not a dict of tensors (plain, or under one of {', '.join(WRAPPERS)})")
    odd = [f"{name} ({_describe(value)})" for name, value in content.items() if not _is_plain_entry(name, value)]
    if odd:
        raise WeightsError(f"{path}: {len(odd)} of its entries are not plain tensors under a text name:{_listed(odd)}")
    return {name: value.detach() for name, value in content.items()}


def _is_plain_entry(name: Any, value: Any) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and value.dtype in _DTYPES
        and value.device.type == "cpu"
        # A view may claim more elements than are stored, by which a small file could demand any amount of memory.
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _describe(value: Any) -> str:
    is_tensor = isinstance(value, torch.Tensor)
    return f"tensor, {value.layout}, {value.dtype}, {value.device.type}" if is_tensor else type(value).__name__


def _require_finite(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    bad = []
    for name, tensor in tensors.items():
        # Minimum and maximum are non-finite if any element is, and take much less time than isfinite of all elements.
        if tensor.dtype in _FLOATS and tensor.numel() and not all(map(torch.isfinite, torch.aminmax(tensor))):
            bad.append(f"{name} ({tensor.numel() - int(torch.isfinite(tensor).sum()):,} of {tensor.numel():,})")
    if bad:
        raise WeightsError(
            f"{path} holds NaN or infinity in {len(bad)} of its entries; a network of them gives no masks:"
            f"{_listed(bad)}"
        )


def _listed(lines: list[str]) -> str:
    """Join lines, indented; if there are more than _NAMES_SHOWN, replace those in the middle by their count."""
    half = _NAMES_SHOWN // 2
    if len(lines) > _NAMES_SHOWN:
        lines = [*lines[:half], f"... {len(lines) - 2 * half} more ...", *lines[-half:]]
    return "".join(f"\n  {line}" for line in lines)
