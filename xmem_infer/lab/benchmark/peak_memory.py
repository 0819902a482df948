"""Peak memory of a variant on a workload, measured as the largest resident size of a fresh process."""

import ctypes
import gc
from contextlib import suppress
from functools import partial

from ...config import MemoryConfig
from ..child import Send, run_in_child
from ..resident import peak_resident_bytes, resident_bytes, restart_peak
from .interleaved import Row
from .variants import make_variant
from .workload_runner import WorkloadRunner
from .workloads import load_benchmark_network, parse_workload

PEAK_COLUMNS = ("peak_bytes", "above_first_frame_bytes")


def measure_peak(workload: str, variant: str, weights: str | None, threads: int | None) -> Row:
    """Run an ordinary and a memory frame with memory filled, in a fresh process. A failure is reported as a result.

    Returns:
        `result`: status of the process (ok | oom | failed) and reason. In bytes, `peak_bytes`: network, memory and
        activations, without the imported libraries; `above_first_frame_bytes`: the same without the network.
    """
    outcome = run_in_child(partial(segment_in_child, workload, variant, weights), threads)
    sizes = outcome.last("sizes") or dict.fromkeys(PEAK_COLUMNS)
    result = ": ".join(filter(None, (outcome.status, outcome.reason)))
    return {"workload": workload, "variant": variant, "result": result, **{name: sizes[name] for name in PEAK_COLUMNS}}


def segment_in_child(workload_name: str, variant_name: str, weights: str | None, send: Send) -> None:
    """Measure in the child process of `measure_peak`."""
    imported = resident_bytes()
    workload = parse_workload(workload_name)
    network = load_benchmark_network(workload.network, weights)
    variant = make_variant(variant_name, network)
    del network
    _return_freed_memory()
    prepared = resident_bytes()
    runner = WorkloadRunner(variant, workload, MemoryConfig().max_working_frames)  # so that the frame consolidates
    _return_freed_memory()
    restart_peak()  # filling memory quickly may need more than a video does
    runner.run_once()
    peak = peak_resident_bytes()
    send("sizes", peak_bytes=peak - imported, above_first_frame_bytes=peak - prepared)


def _return_freed_memory() -> None:
    """Return freed memory to the system where the allocator is glibc's, which otherwise keeps it for later use."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
