"""Number of threads, estimates of required and free memory, and messages for running out of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..config import MemoryConfig, require
from ..errors import EnvironmentFault
from .cores import control_groups, usable_cores


def check_threads(threads: int | None) -> None:
    """Raise UsageError for more CPU threads than this process has cores: they would only wait for each other."""
    cores = usable_cores()
    allowed = f"1 to {cores}, the cores that this process may use, or null"
    require(threads is None or 1 <= threads <= cores, "runtime.threads", threads, allowed)


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Run a block with this number of torch CPU threads (None: unchanged) and restore the previous number.

    The number is not checked here, because this is entered for every frame: call `check_threads` once before.
    """
    before = torch.get_num_threads()
    if threads is None or threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def memory_bytes(config: MemoryConfig, frame_tokens: int, objects: int, frames: int, dims: tuple[int, int]) -> int:
    """Return the size in bytes of a video's memory once it is full, in float32; see docs/modes-and-speed.md.

    Args:
        config: Settings of the memory.
        frame_tokens: Tokens of one frame, h * w.
        objects: Number of objects in the whole video.
        frames: Number of memory frames that never leave: permanent ones, or all of them without long-term memory.
        dims: C_k and C_v of the network.
    """
    tokens = (frames + config.max_working_frames) * frame_tokens + config.max_long_term_tokens * config.long_term
    return 4 * tokens * (4 * dims[0] + 4 + objects * dims[1])


def free_bytes(device: torch.device, root: Path = Path("/")) -> int | None:
    """Return the free memory of a device in bytes; None if the system does not report it.

    On the CPU this is the memory that the system has available, or less if a control group (a container, a batch job)
    has less left of its limit. root: folder that contains `proc` and `sys`.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    try:
        available = re.search(r"MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        available = None
    free = [int(available[1]) * 1024] if available else []
    return min(free + _left_by_control_groups(root), default=None)


def _left_by_control_groups(root: Path) -> list[int]:
    """Return what is left of each control group's limit; file pages that the kernel can drop count as free."""
    left = []
    for folder, version in control_groups("memory", root):
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
        try:
            allowed, used = ((folder / name).read_text(encoding="ascii").strip() for name in names)
            pages = re.search(r"^(?:total_)?inactive_file (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
        except OSError:
            continue
        if allowed != "max":
            left.append(max(0, int(allowed) - int(used) + (int(pages[1]) if pages else 0)))
    return left


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
