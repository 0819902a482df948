"""Gradient modes as one context manager, always the outer one; autocast goes inside."""

from contextlib import AbstractContextManager

import torch

from ..config import GradMode


def grad_mode(mode: GradMode) -> AbstractContextManager[None]:
    """To run a block in a gradient mode; what was there is restored, also when it fails.

    `set_grad_enabled` is XMem's way, the plain call for the whole program; a library has to put it back.
    """
    if mode is GradMode.set_grad_enabled:
        return torch.set_grad_enabled(False)
    if mode is GradMode.no_grad:
        return torch.no_grad()
    return torch.inference_mode() if mode is GradMode.inference_mode else torch.enable_grad()
