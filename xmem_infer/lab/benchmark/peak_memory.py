"""Peak memory of a variant on a workload: the largest resident size of a fresh process."""

import ctypes
import gc
from contextlib import suppress
from dataclasses import dataclass

import torch

from ...config import MemoryConfig
from ..child import Tell, run_in_child
from ..resident import peak_resident_bytes, resident_bytes, restart_peak
from .interleaved import Row
from .networks import load_benchmark_network
from .variants import make_variant
from .workload_runner import WorkloadRunner
from .workloads import parse_workload

SIZES = ("peak_bytes", "above_first_frame_bytes")


@dataclass
class PeakRequest:
    """What the child measures. weights: as in the settings."""

    workload: str
    variant: str
    weights: str | None = None


def measure_peak(request: PeakRequest, threads: int | None) -> Row:
    """Run an ordinary and a memory frame with memory filled, in a fresh process. What fails is a result.

    Args:
        request: What to measure.
        threads: CPU threads of torch; None: torch's choice.

    Returns:
        `result`: how it ended (ok | oom | failed, and why), and in bytes `peak_bytes`: network, memory and
        activations, all but the libraries; `above_first_frame_bytes`: what the video needs beside the network.
    """
    outcome = run_in_child(segment_in_child, request, threads)
    found = outcome.last("sizes") or dict.fromkeys(SIZES)
    result = ": ".join(filter(None, (outcome.status, outcome.reason)))
    return {"workload": request.workload, "variant": request.variant, "result": result} | {k: found[k] for k in SIZES}


def segment_in_child(request: PeakRequest, tell: Tell) -> None:
    """The child's side of `measure_peak`."""
    imported = resident_bytes()
    workload = parse_workload(request.workload)
    network = load_benchmark_network(workload.network, request.weights)
    variant = make_variant(request.variant, network, torch.device("cpu"))
    del network
    _return_freed_memory()
    prepared = resident_bytes()
    runner = WorkloadRunner(variant, workload, MemoryConfig().max_working_frames)  # the memory frame consolidates
    _return_freed_memory()
    restart_peak()  # filling is faster than a video, and may need more
    runner.run_once()
    peak = peak_resident_bytes()
    tell("sizes", peak_bytes=peak - imported, above_first_frame_bytes=peak - prepared)


def _return_freed_memory() -> None:
    """To the system, where it is glibc that keeps it: what is held for later is not in use."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
