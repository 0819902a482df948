"""oneDNN's product against torch's own."""

import pytest
import torch

from xmem_infer.ops import packed_keys
from xmem_infer.ops.packed_keys import PackedKeys


@pytest.fixture(params=["oneDNN's", "torch's own"])
def way(request, monkeypatch):
    if request.param == "torch's own":
        monkeypatch.setattr(packed_keys, "_has_onednn_product", lambda: False)
    elif not packed_keys._has_onednn_product():
        pytest.skip("this torch has no other product than its own")


@pytest.mark.parametrize("channels", [16, 65])
@pytest.mark.parametrize("queries", [1, 70, 600])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_are_the_matrix_product(way, dtype, queries, channels):
    queries, tokens = torch.randn(queries, channels).to(dtype), torch.randn(900, channels).to(dtype)
    fixed = PackedKeys(tokens)
    for part in queries.split(512):
        torch.testing.assert_close(fixed.products(part), part @ tokens.T)


@pytest.mark.parametrize("recorded", ["queries", "tokens"])
def test_gradients_are_recorded(way, recorded):
    parts = {"queries": torch.randn(7, 5), "tokens": torch.randn(30, 5)}
    parts[recorded].requires_grad_()
    PackedKeys(parts["tokens"]).products(parts["queries"]).sum().backward()
    other = parts["tokens" if recorded == "queries" else "queries"]
    torch.testing.assert_close(parts[recorded].grad, other.sum(0).expand_as(parts[recorded]))
