"""Choice of the device that runs the network."""

import platform

import torch

from ..config import Device
from ..errors import UsageError


def choose_device(wanted: Device) -> torch.device:
    """Return the requested device; `auto` is CUDA if available, else CPU (not MPS, which is often slower).

    Raises UsageError if the device is not available.
    """
    if wanted is Device.auto:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted is Device.cuda and not torch.cuda.is_available():
        raise UsageError("runtime.device=cuda: torch sees no CUDA device; use runtime.device=cpu or auto")
    if wanted is Device.mps and not torch.backends.mps.is_available():
        raise UsageError("runtime.device=mps: torch sees no Apple GPU; use runtime.device=cpu or auto")
    return torch.device(wanted.value)


def device_name(device: torch.device) -> str:
    """Return a description of the device for reports."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"
