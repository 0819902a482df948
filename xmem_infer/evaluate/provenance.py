"""Where a result comes from: machine, memory, input files."""

import platform
import sys
from typing import Any

import torch

from ..runtime.device import device_name


def machine(device: torch.device) -> dict[str, Any]:
    """The machine in words."""
    return {
        "device": device_name(device),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_threads": torch.get_num_threads(),
    }


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Peaks in bytes: resident size of this process since its start; on CUDA since the last reset."""
    found = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        found["resident_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if device.type == "cuda":
        found["cuda_allocated_bytes"] = torch.cuda.max_memory_allocated(device)
        found["cuda_reserved_bytes"] = torch.cuda.max_memory_reserved(device)
    return found
