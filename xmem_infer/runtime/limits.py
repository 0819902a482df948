"""Limits of this machine: the number of threads, the required and the free memory."""

import re
from pathlib import Path

import torch

from ..config import MemoryConfig, require
from .cores import control_group_files, usable_cores


def check_threads(threads: int | None) -> None:
    """Raise UsageError for more CPU threads than this process has cores: they would only wait for each other."""
    cores = usable_cores()
    allowed = f"1 to {cores}, the cores that this process may use, or null"
    require(threads is None or 1 <= threads <= cores, "runtime.threads", threads, allowed)


def memory_bytes(config: MemoryConfig, frame_tokens: int, objects: int, frames: int, dims: tuple[int, int]) -> int:
    """Return the size in bytes of a video's memory once it is full, in float32; see docs/modes-and-speed.md.

    frame_tokens: h * w. objects: number in the whole video. frames: number of memory frames that never leave:
    permanent ones, or all of them without long-term memory. dims: C_k and C_v of the network.
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
    version1 = ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"]
    version2 = ["memory.max", "memory.current", "memory.stat"]
    for allowed, used, statistics in control_group_files("memory", root, version1, version2):
        if allowed != "max":
            pages = re.search(r"^(?:total_)?inactive_file (\d+)$", statistics, re.MULTILINE)
            # File pages that the kernel can drop count as free.
            free.append(max(0, int(allowed) - int(used) + (int(pages[1]) if pages else 0)))
    return min(free, default=None)
