"""What the CPU can compute in."""

from collections.abc import Callable
from typing import Any

import torch


def cpu_capabilities() -> dict[str, Any]:
    """By the names of torch.cpu.get_capabilities, as `avx512_vnni`; nothing where this torch does not tell."""
    ask: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return ask()
