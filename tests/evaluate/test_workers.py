"""Assignment of videos, threads and GPUs to workers."""

import itertools
from types import SimpleNamespace

import pytest

from xmem_infer.config import EvalConfig, ExecutorConfig
from xmem_infer.errors import UsageError
from xmem_infer.evaluate.executors.processes import gpu_for
from xmem_infer.evaluate.executors.worker import MAX_ATTEMPTS, Attempts, Quarantined
from xmem_infer.evaluate.executors.workers import longest_first, threads_per_worker


def job(name, frames):
    return SimpleNamespace(name=name, frames=SimpleNamespace(count=frames))


def test_the_longest_video_comes_first_unknown_lengths_before_all():
    jobs = [job("a", 5), job("b", 90), job("c", None), job("d", 5), job("e", 7)]
    assert [done.name for done in longest_first(jobs)] == ["c", "b", "e", "a", "d"]


@pytest.mark.parametrize("cores", [[2], [1], [16], [8, 8], [4, 2, 2], [0], []])
def test_threads_are_the_maximum_that_fits_all_workers(cores):
    for workers in range(1, 20):
        fitting = [t for t in range(1, 40) if sum(count // t for count in cores) >= workers]
        assert threads_per_worker(cores, workers) == max(fitting, default=1)


def test_gpus_are_assigned_round_robin_if_there_are_several():
    assert [gpu_for(worker, 0, None) for worker in range(2)] == [None, None]
    assert [gpu_for(worker, 1, "3") for worker in range(2)] == [None, None]
    assert [gpu_for(worker, 2, None) for worker in range(3)] == ["0", "1", "0"]
    assert [gpu_for(worker, 2, "5, GPU-ab,-1,7") for worker in range(3)] == ["5", "GPU-ab", "5"]


def test_attempts_are_counted_on_disk_and_limited(tmp_path):
    for number in range(1, MAX_ATTEMPTS + 1):
        assert Attempts(tmp_path).start("a.b") == number  # a new object each time, like a new process
    assert len(Attempts(tmp_path).previous("a.b")) == MAX_ATTEMPTS
    assert Attempts(tmp_path).previous("a") == []
    with pytest.raises(Quarantined, match=r"died 3 times.*process \d+ on .*workers=1"):
        Attempts(tmp_path).start("a.b")
    for _ in range(2):
        Attempts(tmp_path).clear()
    assert Attempts(tmp_path).start("a.b") == 1


def test_settings():
    with pytest.raises(UsageError, match="workers=0"):
        EvalConfig(workers=0)
    with pytest.raises(UsageError, match="executor=ray"):
        ExecutorConfig(address="somewhere:6379")
    for kind, address in itertools.product(("auto", "processes", "ray"), (None, "host:1")):
        if address is None or kind == "ray":
            assert ExecutorConfig(kind, address).address == address
