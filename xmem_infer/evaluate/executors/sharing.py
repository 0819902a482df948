"""Dividing work and machine among workers; decisions only."""

from collections.abc import Sequence

from ..jobs import VideoJob


def longest_first(jobs: Sequence[VideoJob]) -> list[VideoJob]:
    """Jobs by falling number of frames, so that no long video is left to one worker at the end.

    Unknown lengths first (the length could be any); equal ones stay in order.
    """
    return sorted(jobs, key=lambda job: float("inf") if job.source.count is None else job.source.count, reverse=True)


def threads_each(cores: Sequence[int], workers: int) -> int:
    """CPU threads per worker, as many as let all workers fit; at least 1. cores: of each machine."""
    for threads in range(max(cores, default=1), 1, -1):
        if sum(count // threads for count in cores) >= workers:
            return threads
    return 1


def gpu_of(worker: int, count: int, visible: str | None) -> str | None:
    """CUDA_VISIBLE_DEVICES for worker 0, 1, ...: one GPU each, in turn; None where there are not several.

    count: GPUs that torch sees. visible: the variable's value now, which names those GPUs.
    """
    if count < 2:
        return None
    names = visible.split(",")[:count] if visible else [str(number) for number in range(count)]
    return names[worker % count].strip()
