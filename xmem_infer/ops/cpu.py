"""Query of the CPU's instruction sets."""

from collections.abc import Callable
from typing import Any

import torch


def cpu_capabilities() -> dict[str, Any]:
    """Return torch.cpu.get_capabilities(), with keys such as `avx512_vnni`; empty if this torch lacks the function."""
    get_capabilities: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return get_capabilities()
