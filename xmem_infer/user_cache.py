"""The user's cache folder, for downloads and compiled models."""

import os
from pathlib import Path


def user_cache() -> Path:
    """Return $XDG_CACHE_HOME/xmem_infer, or ~/.cache/xmem_infer if that is not set; the folder need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "xmem_infer"
