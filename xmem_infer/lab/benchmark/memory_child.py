"""In a process of its own: run one contender before one workload and tell the resident sizes, as JSON on stdout."""

import ctypes
import gc
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict

import torch

from ...config import MemoryConfig
from ..resident import peak_resident_bytes, resident_bytes, restart_peak
from .contenders import make_contender
from .networks import network_for
from .peak_memory import Sizes
from .stand import Stand
from .workloads import parse_workload


def main() -> None:
    """Arguments: workload, variant, weights (empty: by seed), threads (0: torch's choice)."""
    # What libraries print must not get into the answer.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    workload_name, variant, weights, threads = sys.argv[1:]
    if int(threads):
        torch.set_num_threads(int(threads))
    workload = parse_workload(workload_name)
    imported = resident_bytes()
    contender = make_contender(variant, network_for(workload.tiny, weights or None), torch.device("cpu"))
    give_back()
    prepared = resident_bytes()
    stand = Stand(contender, workload, MemoryConfig().max_working_frames)  # the memory frame consolidates
    give_back()
    restart_peak()  # filling is faster than a video, and may need more
    stand.run_once()
    json.dump(asdict(Sizes(imported, prepared, peak_resident_bytes())), answer)
    answer.flush()


def give_back() -> None:
    """Return freed memory to the system where it is glibc that keeps it: what is held for later is not in use."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
