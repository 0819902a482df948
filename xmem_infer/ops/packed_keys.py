"""Inner products of queries with many tokens."""

from functools import cache

import torch
from torch import Tensor

_QUERIES = 512  # of one product, about: what the layout is chosen for


class PackedKeys:
    """Tokens (N, C) to multiply with one lot of queries after another; while it is used, they stay as they are.

    On the CPU oneDNN lays them out once and multiplies, where torch lets us, in two thirds of the time of torch's own
    product. The names are no promise, so they are tried first; they record no gradient, so torch's own product does.
    """

    def __init__(self, tokens: Tensor):
        self.tokens = tokens
        self._packed: Tensor | None = None

    def products(self, queries: Tensor) -> Tensor:
        """queries (Q, C) -> (Q, N)."""
        plain = queries.device.type == "cpu" and queries.dtype is torch.float32
        if not plain or queries.requires_grad or self.tokens.requires_grad or not _has_onednn_product():
            return queries @ self.tokens.T
        if self._packed is None:
            self._packed = _pack(self.tokens)
        return _multiply(queries, self._packed)


def _pack(tokens: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(tokens, _QUERIES)
    return packed


def _multiply(queries: Tensor, packed: Tensor) -> Tensor:
    products: Tensor = torch.ops.mkldnn._linear_pointwise(queries, packed, None, "none", [], "")
    return products


@cache
def _has_onednn_product() -> bool:
    queries, tokens = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        return torch.equal(_multiply(queries, _pack(tokens)), queries @ tokens.T)
    except (AttributeError, RuntimeError, TypeError):
        return False
