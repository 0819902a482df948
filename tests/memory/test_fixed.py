"""The fixed-capacity read against the growing one."""

import pytest
import torch
from test_memory import C_K, C_V, TOKENS, Scene, small

from xmem_infer.memory.fixed import FixedMemory
from xmem_infer.memory.manager import Memory


@pytest.mark.parametrize("top_k", [3, 100])
@pytest.mark.parametrize("births", [{0: 2}, {0: 1, 3: 1}, {0: 2, 1: 1, 5: 2, 9: 1}])
def test_masked_out_is_left_out(births, top_k):
    like = torch.empty(0, dtype=torch.float64)
    config = small(top_k=top_k)
    growing, fixed = (kind(config, C_K, C_V, TOKENS, like) for kind in (Memory, FixedMemory))
    fixed.store.key.fill_(torch.nan)  # what lies in unused rows must not matter
    scene, objects = Scene(0), 0
    for frame in range(24):
        features = scene.features()
        if frame:
            torch.testing.assert_close(fixed.read(features), growing.read(features))
        for bucket in fixed.store.buckets:
            bucket.value[:, ~bucket.covers] = torch.nan
        objects += births.get(frame, 0)
        value = scene.value(objects)
        for memory in (growing, fixed):
            memory.add(features, value)
    assert fixed.long_term_tokens == growing.long_term_tokens > 0
    rows = growing.store.filled()
    torch.testing.assert_close(fixed.store.use[rows], growing.store.use[rows])
    torch.testing.assert_close(fixed.store.life[rows], growing.store.life[rows])
