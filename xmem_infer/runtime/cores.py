"""The number of CPU cores that this process may use, and how its threads wait for each other."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
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


def control_group_files(controller: str, root: Path, version1: list[str], version2: list[str]) -> Iterator[list[str]]:
    """Yield what files of this process's control groups on Linux contain, and of their parents, whose limits apply too.

    controller: `cpu` or `memory`. root: folder that contains `proc` and `sys`. version1, version2: names of the files
    by cgroup version; groups without them are left out. In a container, its own group may appear as the topmost one.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for _, controllers, own in (line.split(":", 2) for line in lines):
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / (controller if controllers else "")
        names = version1 if controllers else version2
        for path in (PurePosixPath(own), *PurePosixPath(own).parents):
            try:
                texts = [(base / str(path).lstrip("/") / name).read_text(encoding="ascii").strip() for name in names]
            except OSError:
                continue
            yield texts


def _quotas() -> Iterator[float]:
    """Yield the CPU quotas of this process's control groups, in cores."""
    for texts in control_group_files("cpu", ROOT, ["cpu.cfs_quota_us", "cpu.cfs_period_us"], ["cpu.max"]):
        with suppress(ValueError):  # "max": no limit
            quota, period = map(float, " ".join(texts).split())
            if quota > 0:  # -1: no limit
                yield quota / period
