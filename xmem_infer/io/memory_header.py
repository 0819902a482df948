"""The description stored in a memory file, read without importing torch."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..errors import UsageError

FORMAT = "xmem_infer memory 1"


def read_description(path: str | Path) -> dict[str, Any]:
    """Return `objects` (ids), `size` (H, W inside the network), `kind`, `precision` and `weights` (sha256).

    Raises UsageError if there is no such file, or `save_memory` has not written it.
    """
    if not Path(path).is_file():
        raise UsageError(f"memory.load={path} is not a file: give one that memory.save=FILE has written")
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is not a memory, or damaged ({error}): give a file of memory.save") from error
    if metadata.get("format") != FORMAT:
        raise UsageError(f"{path} is not a memory (its format: {metadata.get('format')}): give a file of memory.save")
    return {name: json.loads(value) for name, value in metadata.items() if name != "format"}
