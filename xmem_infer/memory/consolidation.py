"""From working to long-term memory (paper section 3.3): eviction, prototypes, potentiation."""

import torch
from torch import Tensor

from ..ops.affinity import full_precision, similarity
from .store import TokenStore


def evict_least_used(store: TokenStore, limit: int) -> None:
    """Make room in long-term memory when it holds `limit` tokens or more.

    Survivors are strictly above the k-th smallest usage, k = size - limit; so ties go too, and k = 0 evicts
    nothing.
    """
    region = store.long_term
    surplus = region.size - limit
    if surplus <= 0:
        return
    rows = slice(region.start, region.stop)
    usage = store.use[rows] / store.life[rows]
    threshold = usage.kthvalue(surplus).values
    store.keep(region, (usage > threshold).nonzero().flatten())


def choose_prototypes(store: TokenStore, candidates: Tensor, count: int) -> Tensor:
    """The `count` candidates of highest usage: (P,) indices into `candidates` (rows of the store)."""
    usage = store.use[candidates] / store.life[candidates]
    return usage.topk(min(count, candidates.numel())).indices


def potentiation_scores(store: TokenStore, candidates: Tensor, prototypes: Tensor) -> Tensor:
    """Similarity (P, candidates) with the candidates' shrinkage and the prototypes' selection."""
    rows = candidates[prototypes]
    return similarity(store.key[candidates], store.shrinkage[candidates], store.key[rows], store.selection[rows])


def potentiate(scores: Tensor, value: Tensor) -> Tensor:
    """Softmax over all candidates (no top-k), then their pooled values.

    scores (P, n), value (..., n, C) -> (..., P, C).
    """
    with full_precision(value):
        return scores.softmax(1) @ value


def consolidate(store: TokenStore, candidates: Tensor, num_prototypes: int) -> None:
    """Append prototypes of `candidates` (working rows) to long-term memory, each with its own values.

    A late bucket pools over the candidates it covers, and has values only for prototypes it covers.
    """
    chosen = choose_prototypes(store, candidates, num_prototypes)
    scores = potentiation_scores(store, candidates, chosen)
    shrinkage = potentiate(scores, store.shrinkage[candidates, None])[:, 0]
    pooled = []
    for bucket in store.buckets:
        covered = bucket.covers[candidates]
        valid = covered[chosen].nonzero().flatten()
        value = bucket.value[:, candidates[covered]]
        pooled.append((bucket, valid, potentiate(scores[valid][:, covered], value)))
    rows = store.append(store.long_term, store.key[candidates[chosen]], shrinkage)
    for bucket, valid, value in pooled:
        store.write(bucket, torch.arange(rows.start, rows.stop, device=valid.device)[valid], value)
