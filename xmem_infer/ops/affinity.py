"""Memory readout: similarity -> affinity -> readout (XMem paper, section 3.2, eq. 2-3).

Similarities are stored as (queries, tokens), so that the scores of one query are contiguous and values can be
gathered. All functions compute in the dtype of the keys even under autocast, because half precision is too coarse
for the small differences between squared distances on which the softmax depends.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_PACKED_FOR = 512  # typical number of queries per product, for which oneDNN chooses the packed layout
# oneDNN caches hundreds of kilobytes for every matrix size that it has ever multiplied. Token counts are rounded up
# to multiples of this, so that a growing memory does not use many different sizes.
_TOKEN_STEP = 1024
_GROUP = 8  # size of the column groups in `best_of`; 16 and 32 were slower


class Affinity(NamedTuple):
    """Sparse affinity: the k memory tokens that each query reads, and their weights.

    Attributes:
        token: (Q, k) int64, indices of memory tokens.
        weight: (Q, k), each row sums to 1.
    """

    token: Tensor
    weight: Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """Return a context manager that disables autocast on the device of `like`."""
    return torch.autocast(like.device.type, enabled=False)


def similarity(memory_key: Tensor, shrinkage: Tensor, query_key: Tensor, selection: Tensor | None) -> Tensor:
    """Return the anisotropic L2 similarity of every query with every token, (Q, N).

    S = -shrinkage / sqrt(C_k) * sum_c selection_c (memory_c - query_c)^2. If `selection` is None, it is 1 and the
    query's own square, which is constant per query, is left out, as in the published code.

    Args:
        memory_key: (N, C_k).
        shrinkage: (N,), >= 1.
        query_key: (Q, C_k).
        selection: (Q, C_k) in (0, 1), or None.
    """
    with full_precision(memory_key):
        return query_columns(query_key, selection) @ memory_columns(memory_key, shrinkage).T


def memory_columns(memory_key: Tensor, shrinkage: Tensor) -> Tensor:
    """Return the memory factor of the similarity, which expands to one inner product; (N, 2 C_k + 1)."""
    scale = shrinkage[:, None] / math.sqrt(memory_key.shape[1])
    return torch.cat([memory_key * scale, memory_key.square() * scale, scale], 1)


def query_columns(query_key: Tensor, selection: Tensor | None) -> Tensor:
    """Return the query factor of that inner product; (Q, 2 C_k + 1)."""
    if selection is None:
        return torch.cat([2 * query_key, -torch.ones_like(query_key), torch.zeros_like(query_key[:, :1])], 1)
    weighted = query_key * selection
    return torch.cat([2 * weighted, -selection, -(weighted * query_key).sum(1, keepdim=True)], 1)


class PackedKeys:
    """The keys of a memory, prepared for products with several batches of queries.

    On the CPU the tokens are packed once for oneDNN, whose product takes two thirds of the time of torch's own. Its
    operators are private to torch, so `_has_onednn_product` tests them before use. They do not record gradients; if
    gradients are required, torch's own product is used.
    """

    def __init__(self, columns: Tensor, centre: Tensor, tokens: int | None = None):
        """Prepare the first `tokens` rows (None: all) of a buffer.

        columns: (rows, 2 C_k + 1), the `memory_columns` of keys from which `centre` (C_k,) was subtracted.
        """
        self.tokens = columns.shape[0] if tokens is None else tokens
        self.columns, self.centre = columns[: padded_count(self.tokens)], centre
        self._packed: Tensor | None = None

    def similarity(self, query_key: Tensor, selection: Tensor) -> Tensor:
        """Return the similarity (Q, N) as the function `similarity` does; query_key and selection: (Q, C_k)."""
        with full_precision(query_key):
            # Centring does not change distances, and smaller numbers cancel with smaller rounding errors.
            queries = query_columns(query_key - self.centre, selection)
            is_supported = queries.device.type == "cpu" and queries.dtype is torch.float32
            if not is_supported or queries.requires_grad or self.columns.requires_grad or not _has_onednn_product():
                return queries @ self.columns[: self.tokens].T
            if self._packed is None:
                self._packed = torch.ops.mkldnn._reorder_linear_weight(self.columns, _PACKED_FOR)
            product: Tensor = torch.ops.mkldnn._linear_pointwise(queries, self._packed, None, "none", [], "")
            return product[:, : self.tokens]


def padded_count(tokens: int) -> int:
    """Round a number of tokens up to the number that is multiplied, see `_TOKEN_STEP`."""
    return -(-tokens // _TOKEN_STEP) * _TOKEN_STEP


@cache
def _has_onednn_product() -> bool:
    queries, tokens = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(tokens, _PACKED_FOR)
        product = torch.ops.mkldnn._linear_pointwise(queries, packed, None, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(product, queries @ tokens.T)


def top_k_affinity(scores: Tensor, top_k: int) -> Affinity:
    """Return the softmax over the `top_k` best tokens of each query (all tokens if there are fewer); scores (Q, N)."""
    best, index = best_of(scores, min(top_k, scores.shape[1]))
    # torch's softmax subtracts the maximum. The published code does not, and computes 0 / 0 far from all tokens.
    return Affinity(index, best.softmax(1))


def best_of(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest scores of each row of (Q, N) and their columns; order and ties are arbitrary.

    Equal to `topk`, but faster on long rows: columns are grouped and the groups compared by their maxima first,
    because each of the largest scores lies in one of the `count` groups with the largest maxima.
    """
    groups = scores.shape[1] // _GROUP
    if groups < 4 * count:
        best, index = scores.topk(count, dim=1, sorted=False)
        return best, index
    grouped_columns = groups * _GROUP
    grouped = scores[:, :grouped_columns].unflatten(1, (_GROUP, groups))
    _, best_groups = best_of(grouped.amax(1), count)
    members = torch.arange(_GROUP, device=scores.device)[:, None] * groups + best_groups[:, None]  # (Q, _GROUP, count)
    rest = torch.arange(grouped_columns, scores.shape[1], device=scores.device).expand(scores.shape[0], -1)
    columns = torch.cat([members.flatten(1), rest], 1)
    best, index = scores.gather(1, columns).topk(count, dim=1, sorted=False)
    return best, columns.gather(1, index)


def readout(value: Tensor, affinity: Affinity) -> Tensor:
    """Return the weighted sum of the values that each query reads: value (O, N, C_v) -> (O, Q, C_v)."""
    objects, tokens, channels = value.shape
    offset = torch.arange(objects, device=value.device)[:, None, None] * tokens
    index = (affinity.token + offset).flatten(0, 1)
    weight = affinity.weight.to(value.dtype).expand(objects, -1, -1).flatten(0, 1)
    with full_precision(value):
        sums = F.embedding_bag(index, value.reshape(-1, channels), mode="sum", per_sample_weights=weight.contiguous())
    return sums.view(objects, -1, channels)


def token_usage(affinity: Affinity, tokens: int) -> Tensor:
    """Return how much each of `tokens` tokens was read: the sum of its affinity over all queries, (tokens,)."""
    usage = affinity.weight.new_zeros(tokens)
    return usage.index_add_(0, affinity.token.flatten(), affinity.weight.flatten())
