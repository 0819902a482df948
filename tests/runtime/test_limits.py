"""The formula of docs/modes-and-speed.md compared with real allocations; free memory of the system."""

import pytest
import torch

from xmem_infer.config import MemoryConfig
from xmem_infer.memory.manager import XMemMemory
from xmem_infer.model.network import KeyFeatures
from xmem_infer.runtime.limits import free_bytes, memory_bytes


def test_the_estimate_equals_the_allocation():
    key, none = torch.zeros(1, 8, 3, 4), torch.zeros(0)
    features = KeyFeatures(key, torch.ones(1, 1, 3, 4), torch.ones(1, 8, 3, 4), none, none, none)
    config = MemoryConfig(max_long_term_tokens=500)
    memory = XMemMemory(config, features)
    memory.add(features, torch.zeros(1, 3, 20, 3, 4))
    store = memory.store
    held = [store.key, store.selection, store.shrinkage, store.use, store.life, store._packed]
    held += [bucket.value for bucket in store.buckets]
    assert sum(x.nbytes for x in held) == memory_bytes(config, 12, 3, 0, (8, 20))


V2 = ("sys/fs/cgroup", "0::/job/step", "memory.max", "memory.current", "inactive_file")
V1 = (
    "sys/fs/cgroup/memory", "4:cpu,memory:/job/step", "memory.limit_in_bytes", "memory.usage_in_bytes",
    "total_inactive_file",
)  # fmt: skip


@pytest.mark.parametrize(
    ("version", "limits", "free"),
    [
        (V2, {"job/step": "max"}, 8_000 * 1024),
        (V2, {"job": "1000000", "job/step": "max"}, 1_000_000 - 600_000 + 50_000),
        (V2, {"": "1000000"}, 450_000),  # a container that cannot see its own group
        (V2, {"job/step": "500000"}, 0),
        (V1, {"": str(2**63 - 4096), "job/step": "900000"}, 350_000),
        (V1, {"other": "900000"}, 8_000 * 1024),
    ],
)
def test_free_memory_respects_control_group_limits(tmp_path, version, limits, free):
    base, membership, limit, usage, pages = version
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    (tmp_path / "proc/self/cgroup").write_text(f"1:name=systemd:/\n{membership}\n")
    for group, value in limits.items():
        folder = tmp_path / base / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{value}\n")
        (folder / usage).write_text("600000\n")
        (folder / "memory.stat").write_text(f"anon 1\n{pages} 50000\n")
    assert free_bytes(torch.device("cpu"), tmp_path) == free
    assert free_bytes(torch.device("mps"), tmp_path) is None


def test_free_memory_of_unsupported_systems_is_unknown(tmp_path):
    assert free_bytes(torch.device("cpu"), tmp_path) is None
