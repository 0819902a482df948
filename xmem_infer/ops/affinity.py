"""Reading a memory: similarity -> affinity -> readout (paper section 3.2, eq. 2-3).

Tokens stand in rows, so that the tokens of one query are contiguous and values can be gathered. Everything
here runs in the dtype of the keys whatever autocast is active: half precision loses the differences
between squared distances that the softmax lives on.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_PACKED_FOR = 512  # queries of one product, about: what the packed layout is chosen for
# oneDNN keeps hundreds of kilobytes for every number of tokens that it ever multiplied: a memory that grows by and by
# must not show it each of its sizes.
_TOKEN_STEP = 1024
_GROUP = 8  # columns that compete by their maximum in `best_of`; 16 and 32 were slower


class Affinity(NamedTuple):
    """The tokens that each query reads: token (Q, k) int64 rows of the memory, weight (Q, k), rows sum to 1."""

    token: Tensor
    weight: Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """Context in which autocast does not lower the precision of operations on `like`'s device."""
    return torch.autocast(like.device.type, enabled=False)


def similarity(memory_key: Tensor, shrinkage: Tensor, query_key: Tensor, selection: Tensor | None) -> Tensor:
    """Anisotropic L2 similarity of every query with every token, (Q, N).

    memory_key (N, C_k), shrinkage (N,) >= 1, query_key (Q, C_k), selection (Q, C_k) in (0, 1).
    S = -shrinkage / sqrt(C_k) * sum_c selection_c (memory_c - query_c)^2. Without selection the published
    code uses 1 for it and leaves the query's own square out; so does this.
    """
    with full_precision(memory_key):
        return query_columns(query_key, selection) @ memory_columns(memory_key, shrinkage).T


def memory_columns(memory_key: Tensor, shrinkage: Tensor) -> Tensor:
    """A token's side of the similarity, which multiplied out is one inner product: (N, 2 C_k + 1)."""
    scale = shrinkage[:, None] / math.sqrt(memory_key.shape[1])
    return torch.cat([memory_key * scale, memory_key.square() * scale, scale], 1)


def query_columns(query_key: Tensor, selection: Tensor | None) -> Tensor:
    """A query's side of it: (Q, 2 C_k + 1)."""
    if selection is None:
        return torch.cat([2 * query_key, -torch.ones_like(query_key), torch.zeros_like(query_key[:, :1])], 1)
    weighted = query_key * selection
    return torch.cat([2 * weighted, -selection, -(weighted * query_key).sum(1, keepdim=True)], 1)


class PackedKeys:
    """A memory's keys for one reading: similarity with one lot of queries after another.

    On the CPU oneDNN lays the tokens out once and multiplies, where torch lets us, in two thirds of the time of
    torch's own product. The names are no promise, so they are tried first; they record no gradient: then torch's own
    product is used.
    """

    def __init__(self, columns: Tensor, centre: Tensor, tokens: int | None = None):
        """The first `tokens` (None: all) of a buffer.

        columns (rows, 2 C_k + 1): `memory_columns` of keys from which `centre` (C_k,) was subtracted.
        """
        self.tokens = columns.shape[0] if tokens is None else tokens
        self.columns, self.centre = columns[: padded_count(self.tokens)], centre
        self._packed: Tensor | None = None

    def similarity(self, query_key: Tensor, selection: Tensor) -> Tensor:
        """query_key and selection (Q, C_k) -> (Q, N), as the function `similarity`."""
        with full_precision(query_key):
            # Distances stay, and products of smaller numbers cancel with smaller errors.
            queries = query_columns(query_key - self.centre, selection)
            plain = queries.device.type == "cpu" and queries.dtype is torch.float32
            if not plain or queries.requires_grad or self.columns.requires_grad or not _has_onednn_product():
                return queries @ self.columns[: self.tokens].T
            if self._packed is None:
                self._packed = torch.ops.mkldnn._reorder_linear_weight(self.columns, _PACKED_FOR)
            found: Tensor = torch.ops.mkldnn._linear_pointwise(queries, self._packed, None, "none", [], "")
            return found[:, : self.tokens]


def padded_count(tokens: int) -> int:
    """The number of tokens that is multiplied where there are so many."""
    return -(-tokens // _TOKEN_STEP) * _TOKEN_STEP


@cache
def _has_onednn_product() -> bool:
    queries, tokens = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(tokens, _PACKED_FOR)
        found = torch.ops.mkldnn._linear_pointwise(queries, packed, None, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, queries @ tokens.T)


def top_k_affinity(scores: Tensor, top_k: int) -> Affinity:
    """Softmax over the `top_k` best tokens of each query (all of them where there are fewer); scores (Q, N)."""
    best, index = best_of(scores, min(top_k, scores.shape[1]))
    # torch's softmax subtracts the maximum: the published code does not, and divides 0 by 0 far from any token.
    return Affinity(index, best.softmax(1))


def best_of(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best of each row of (Q, N) and their columns, in any order; of ties any.

    Rows are long, so groups of columns compete by their maxima first: whatever is among the best of its row
    lies in one of the `count` best groups.
    """
    groups = scores.shape[1] // _GROUP
    if groups < 4 * count:
        best, index = scores.topk(count, dim=1, sorted=False)
        return best, index
    whole = groups * _GROUP
    grouped = scores[:, :whole].unflatten(1, (_GROUP, groups))
    _, chosen = best_of(grouped.amax(1), count)
    members = torch.arange(_GROUP, device=scores.device)[:, None] * groups + chosen[:, None]  # (Q, _GROUP, count)
    rest = torch.arange(whole, scores.shape[1], device=scores.device).expand(scores.shape[0], -1)
    columns = torch.cat([members.flatten(1), rest], 1)
    best, index = scores.gather(1, columns).topk(count, dim=1, sorted=False)
    return best, columns.gather(1, index)


def readout(value: Tensor, affinity: Affinity) -> Tensor:
    """Weighted sum of the values each query reads: value (O, N, C_v) -> (O, Q, C_v)."""
    objects, tokens, channels = value.shape
    offset = torch.arange(objects, device=value.device)[:, None, None] * tokens
    index = (affinity.token + offset).flatten(0, 1)
    weight = affinity.weight.to(value.dtype).expand(objects, -1, -1).flatten(0, 1)
    with full_precision(value):
        read = F.embedding_bag(index, value.reshape(-1, channels), mode="sum", per_sample_weights=weight.contiguous())
    return read.view(objects, -1, channels)


def token_usage(affinity: Affinity, tokens: int) -> Tensor:
    """How much each of `tokens` tokens was read: the sum of its affinity over queries, (tokens,)."""
    usage = affinity.weight.new_zeros(tokens)
    return usage.index_add_(0, affinity.token.flatten(), affinity.weight.flatten())
