"""Reading a memory: similarity -> affinity -> readout (paper section 3.2, eq. 2-3).

Tokens stand in rows, so that the tokens of one query are contiguous and values can be gathered. Everything
here runs in the dtype of the keys whatever autocast is active: half precision loses the differences
between squared distances that the softmax lives on.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


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
        square = memory_key.square()
        if selection is None:
            scores = 2 * (query_key @ memory_key.T) - square.sum(1)
        else:
            weighted = query_key * selection
            own = (weighted * query_key).sum(1, keepdim=True)
            queries = torch.cat([2 * weighted, -selection], 1)
            scores = torch.addmm(-own, queries, torch.cat([memory_key, square], 1).T)
        return scores * (shrinkage / math.sqrt(memory_key.shape[1]))


def top_k_affinity(scores: Tensor, top_k: int) -> Affinity:
    """Softmax over the `top_k` best tokens of each query (all of them where there are fewer); scores (Q, N)."""
    best, index = scores.topk(min(top_k, scores.shape[1]), dim=1)
    # torch's softmax subtracts the maximum: the published code does not, and divides 0 by 0 far from any token.
    return Affinity(index, best.softmax(1))


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
