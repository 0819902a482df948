"""Number of cores that a process may use: affinity and container quotas."""

import os

import pytest

from xmem_infer.runtime import cores
from xmem_infer.runtime.cores import usable_cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """machine(/proc/self/cgroup, files below /sys/fs/cgroup) -> usable cores of a process on 64 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(cores, "ROOT", tmp_path)
    (tmp_path / "proc" / "self").mkdir(parents=True)

    def start(process, **files):
        (tmp_path / "proc" / "self" / "cgroup").write_text(process)
        for name, text in files.items():
            path = tmp_path / "sys" / "fs" / "cgroup" / name.replace("__", "/").replace("-", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return usable_cores()

    return start


@pytest.mark.parametrize(
    ("process", "files", "expected"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu-max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu-max": "250000 100000\n"}, 3),
        ("0::/a/b\n", {"a__cpu-max": "200000 100000\n", "a__b__cpu-max": "max 100000\n"}, 2),
        ("4:memory:/x\n3:cpu,cpuacct:/\n", {"cpu__cpu-cfs_quota_us": "50000", "cpu__cpu-cfs_period_us": "100000"}, 1),
        ("3:cpu:/\n", {"cpu__cpu-cfs_quota_us": "-1", "cpu__cpu-cfs_period_us": "100000"}, 64),
    ],
)
def test_container_cpu_quotas_are_respected(machine, process, files, expected):
    assert machine(process, **files) == expected


def test_cpu_affinity_is_respected(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert usable_cores() == 1


@pytest.mark.parametrize(("running", "policy"), [("1/90", None), ("3/90", "passive")])
def test_threads_yield_if_other_processes_compute(tmp_path, monkeypatch, running, policy):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(cores, "LOAD", tmp_path / "loadavg")
    cores.yield_while_waiting()  # the file does not exist on other systems
    assert "OMP_WAIT_POLICY" not in os.environ
    cores.LOAD.write_text(f"0.9 0.5 0.1 {running} 4711\n")
    cores.yield_while_waiting()
    assert os.environ.get("OMP_WAIT_POLICY") == policy
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    cores.yield_while_waiting()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
