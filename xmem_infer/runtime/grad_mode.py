"""Gradient modes as one context manager, always the outer one; autocast goes inside."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..config import GradMode


@contextmanager
def grad_mode(mode: GradMode) -> Iterator[None]:
    """Run a block in a gradient mode and restore what was there, also when it fails.

    `set_grad_enabled` is XMem's way, the plain call for the whole program; a library has to put it back.
    """
    if mode is GradMode.set_grad_enabled:
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        try:
            yield
        finally:
            torch.set_grad_enabled(before)
    elif mode is GradMode.no_grad:
        with torch.no_grad():
            yield
    elif mode is GradMode.inference_mode:
        with torch.inference_mode():
            yield
    else:
        with torch.enable_grad():
            yield
