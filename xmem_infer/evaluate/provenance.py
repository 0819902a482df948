"""Provenance of a result: machine and memory use."""

import platform
import sys
from typing import Any

import torch

from ..runtime.device import device_name


def machine(device: torch.device) -> dict[str, Any]:
    """Return a description of the machine."""
    return {
        "device": device_name(device),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_threads": torch.get_num_threads(),
    }


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak memory statistics of a CUDA device."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Return peaks in bytes: resident memory of this process since it started, CUDA memory since the last reset."""
    peaks = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peaks["resident_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if device.type == "cuda":
        peaks["cuda_allocated_bytes"] = torch.cuda.max_memory_allocated(device)
        peaks["cuda_reserved_bytes"] = torch.cuda.max_memory_reserved(device)
    return peaks
