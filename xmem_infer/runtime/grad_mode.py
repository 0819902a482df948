"""Gradient modes as a context manager. It is always entered before autocast."""

from contextlib import AbstractContextManager

import torch

from ..config import GradMode


def grad_mode(mode: GradMode) -> AbstractContextManager[None]:
    """Return a context manager that runs a block in a gradient mode and restores the previous mode afterwards.

    `set_grad_enabled` is what XMem's scripts call once for the whole program; here too it is undone after the block.
    """
    if mode is GradMode.set_grad_enabled:
        return torch.set_grad_enabled(False)
    if mode is GradMode.no_grad:
        return torch.no_grad()
    return torch.inference_mode() if mode is GradMode.inference_mode else torch.enable_grad()
