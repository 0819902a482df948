"""The formula of docs/modes-and-speed.md against what a memory allocates."""

import torch

from xmem_infer.config import MemoryConfig
from xmem_infer.memory.manager import XMemMemory
from xmem_infer.model.network import KeyFeatures
from xmem_infer.runtime.limits import memory_bytes


def test_the_estimate_is_what_is_allocated():
    key, none = torch.zeros(1, 8, 3, 4), torch.zeros(0)
    features = KeyFeatures(key, torch.ones(1, 1, 3, 4), torch.ones(1, 8, 3, 4), none, none, none)
    config = MemoryConfig(max_long_term_tokens=500)
    memory = XMemMemory(config, features)
    memory.add(features, torch.zeros(1, 3, 20, 3, 4))
    store = memory.store
    held = [store.key, store.selection, store.shrinkage, store.use, store.life, store._packed]
    held += [bucket.value for bucket in store.buckets]
    assert sum(x.nbytes for x in held) == memory_bytes(config, 12, 3, 0, (8, 20))
