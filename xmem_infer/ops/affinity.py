"""Memory readout: similarity -> affinity -> readout (XMem paper, section 3.2, eq. 2-3).

Similarities are stored as (queries, tokens), so that the scores of one query are contiguous and values can be
gathered. All functions compute in the dtype of the keys even under autocast, because half precision is too coarse
for the small differences between squared distances on which the softmax depends.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

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


class PackedKeys(NamedTuple):
    """The keys of a memory, in the layout of one matrix product.

    Attributes:
        columns: (N, 2 C_k + 1), the `memory_columns` of keys from which `centre` was subtracted.
        centre: (C_k,).
    """

    columns: Tensor
    centre: Tensor

    def similarity(self, query_key: Tensor, selection: Tensor) -> Tensor:
        """Return the similarity (Q, N) as the function `similarity` does; query_key and selection: (Q, C_k)."""
        with full_precision(query_key):
            # Centring does not change distances, and smaller numbers cancel with smaller rounding errors.
            return query_columns(query_key - self.centre, selection) @ self.columns.T


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
