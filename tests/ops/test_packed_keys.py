"""Similarity of packed keys against its definition."""

import pytest
import torch

from xmem_infer.ops.affinity import PackedKeys, memory_columns, similarity


@pytest.mark.parametrize("channels", [16, 65])
@pytest.mark.parametrize("queries", [1, 70, 600])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_packed_keys_give_the_similarity(dtype, queries, channels):
    key, shrinkage = torch.randn(900, channels).to(dtype), 1 + torch.rand(900).to(dtype)
    query_key, selection = torch.randn(queries, channels).to(dtype), torch.rand(queries, channels).to(dtype)
    centre = key.mean(0)
    packed = PackedKeys(memory_columns(key - centre, shrinkage), centre)
    for query, part in zip(query_key.split(512), selection.split(512), strict=True):
        expected = similarity(key.double(), shrinkage.double(), query.double(), part.double())
        found = packed.similarity(query, part)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("recorded", ["queries", "columns"])
def test_gradients_are_recorded(recorded):
    parts = {"queries": torch.randn(7, 5), "columns": memory_columns(torch.randn(30, 5), torch.ones(30))}
    parts[recorded].requires_grad_()
    PackedKeys(parts["columns"], torch.zeros(5)).similarity(parts["queries"], torch.ones(7, 5)).sum().backward()
    assert parts[recorded].grad.abs().sum() > 0
