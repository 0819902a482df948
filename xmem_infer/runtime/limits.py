"""Threads, and what to say before and when memory runs out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..config import MemoryConfig, require
from ..errors import EnvironmentFault
from .cores import control_groups, usable_cores


def check_threads(threads: int | None) -> None:
    """Refuse more CPU threads than there are cores for this process: they would only wait for each other."""
    cores = usable_cores()
    allowed = f"1 to {cores}, the cores that this process may use, or null"
    require(threads is None or 1 <= threads <= cores, "runtime.threads", threads, allowed)


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Run a block with that many CPU threads of torch (None: as they are) and restore the number.

    It is entered for every frame, so the number is checked before, by `check_threads`.
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
    """What a video's memory takes once it is full, in float32; see docs/modes-and-speed.md.

    Args:
        config: Of the memory.
        frame_tokens: h * w, of one frame.
        objects: In the whole video.
        frames: Memory frames that stay whatever happens: permanent ones; all of them without long-term memory.
        dims: C_k and C_v of the network.
    """
    tokens = (frames + config.max_working_frames) * frame_tokens + config.max_long_term_tokens * config.long_term
    return 4 * tokens * (4 * dims[0] + 4 + objects * dims[1])


def free_bytes(device: torch.device, root: Path = Path("/")) -> int | None:
    """Memory that is free on a device; None where the system does not tell.

    On the CPU what the system can still give, or what a control group (a container, a batch job) leaves of its limit.
    root: where `proc` and `sys` lie.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        found = None
    free = [int(found[1]) * 1024] if found else []
    return min(free + _left_by_control_groups(root), default=None)


def _left_by_control_groups(root: Path) -> list[int]:
    """What is left of the limit of each group that this process is in; file pages that can be dropped count as free."""
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
    """Turn torch's out-of-memory errors into one that names the settings that lower the need."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(frame, error) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise _out_of_memory(frame, error) from error


def _out_of_memory(frame: str, error: BaseException) -> EnvironmentFault:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return EnvironmentFault(
        f"out of memory at frame {frame}: {reason}. What lowers the need: data.size (smaller), "
        "memory.max_working_frames and memory.max_long_term_tokens (smaller), memory.long_term=true, "
        "runtime.grad_mode=set_grad_enabled, runtime.precision=bf16, runtime.objects_at_once (smaller), fewer objects"
    )
