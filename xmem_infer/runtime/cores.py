"""The number of CPU cores that this process may use, and how its threads wait for each other."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")  # folder that contains `proc` and `sys`
LOAD = Path("/proc/loadavg")


def usable_cores() -> int:
    """Return the number of cores that this process may use: its CPU affinity, limited by cgroup quotas (rounded up)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, *_quotas(), math.inf)))


def yield_while_waiting() -> None:
    """Make OpenMP threads sleep while they wait if other processes are running now. Call before torch is imported.

    By default waiting threads spin, which saves the time to wake up on an idle machine, but on a busy one occupies the
    core that the awaited thread needs. An OMP_WAIT_POLICY that is already set is kept.
    """
    try:
        running = int(LOAD.read_text(encoding="ascii").split()[3].partition("/")[0])  # includes this process
    except (OSError, ValueError, IndexError):
        return
    if running > 1:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def control_groups(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """Yield the folders of this process's control groups on Linux and of their parents, whose limits apply too.

    With each folder, which need not exist, comes the cgroup version, 1 or 2, which determines the names of its files.
    In a container, its own group may appear as the topmost one. controller: `cpu` or `memory`. root: folder that
    contains `proc` and `sys`.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for _, controllers, own in (line.split(":", 2) for line in lines):
        if controllers and controller not in controllers.split(","):
            continue
        for path in (PurePosixPath(own), *PurePosixPath(own).parents):
            base = root / "sys/fs/cgroup" / (controller if controllers else "")
            yield base / str(path).lstrip("/"), 1 if controllers else 2


def _quotas() -> Iterator[float]:
    """Yield the CPU quotas of this process's control groups, in cores."""
    for folder, version in control_groups("cpu", ROOT):
        try:
            if version == 1:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            else:
                quota, period = (folder / "cpu.max").read_text().split()
            if float(quota) > 0:  # -1 means no limit
                yield float(quota) / float(period)
        except (OSError, ValueError):
            continue  # no such file, or "max", which means no limit
