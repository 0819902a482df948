"""Where this user's downloads and compiled parts are kept."""

import os
from pathlib import Path


def user_cache() -> Path:
    """The folder, which need not exist: $XDG_CACHE_HOME/xmem_infer, or ~/.cache/xmem_infer."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "xmem_infer"
