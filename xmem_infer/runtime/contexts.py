"""Context managers for the work on a frame: gradient mode, threads, times, explanation of out-of-memory errors."""

import re
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter

import torch

from ..config import GradMode
from ..errors import EnvironmentFault


def grad_mode(mode: GradMode) -> AbstractContextManager[None]:
    """Return a context manager that runs a block in a gradient mode; it is always entered before autocast.

    `set_grad_enabled` is what XMem's scripts call once for the whole program; here too it is undone after the block.
    """
    if mode is GradMode.set_grad_enabled:
        return torch.set_grad_enabled(False)
    if mode is GradMode.no_grad:
        return torch.no_grad()
    return torch.inference_mode() if mode is GradMode.inference_mode else torch.enable_grad()


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Run a block with this number of torch CPU threads (None: unchanged), which `check_threads` has checked."""
    before = torch.get_num_threads()
    if threads is None or threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def timed(stage: str, device: torch.device, stage_ms: MutableMapping[str, float]) -> Iterator[None]:
    """Add the time of a block to stage_ms[stage]; asynchronous devices are synchronised first."""
    started = perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    stage_ms[stage] = stage_ms.get(stage, 0.0) + (perf_counter() - started) * 1000


@contextmanager
def explain_out_of_memory(frame: str) -> Iterator[None]:
    """Turn out-of-memory errors into an EnvironmentFault that names the settings that reduce memory use."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        has_own_type = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not has_own_type and not re.search("can't allocate memory|not enough memory", str(error)):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentFault(
            f"out of memory at frame {frame}: {reason}. What lowers the need: data.size (smaller), "
            "memory.max_working_frames and memory.max_long_term_tokens (smaller), memory.long_term=true, "
            "runtime.grad_mode=set_grad_enabled, runtime.precision=bf16, runtime.objects_at_once (smaller), "
            "fewer objects"
        ) from error
