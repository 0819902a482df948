"""What run.json says of how a result came about: machine, memory use and speed."""

import platform
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
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


def timings(stages: Mapping[str, list[float]], seconds: float) -> dict[str, Any]:
    """Return the speed of a video for run.json, from `stages`, the milliseconds per frame by stage.

    `published_fps` covers the time from the frame on the device to its upsampled probabilities, including the first
    frame, without warm-up. `end_to_end_fps` is wall-clock time from opening the video to its finished files.
    """
    segmenting = stages.get("segment", [])
    computing = sum(segmenting) / 1000
    summary = {}
    for stage, spent in stages.items():
        p50, p95 = np.percentile(spent, (50, 95))
        summary[stage] = {"p50_ms": float(p50), "p95_ms": float(p95), "total_s": sum(spent) / 1000}
    return {
        "seconds": seconds,
        "end_to_end_fps": len(segmenting) / seconds,
        "published_fps": len(segmenting) / computing if computing else None,
        "stages": summary,
    }
