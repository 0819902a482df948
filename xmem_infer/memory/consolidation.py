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


def keep_most_used(store: TokenStore, count: int) -> None:
    """Reduce long-term memory to the `count` tokens of highest usage."""
    region = store.long_term
    rows = slice(region.start, region.stop)
    usage = store.use[rows] / store.life[rows]
    store.keep(region, usage.topk(min(count, region.size)).indices.sort().values)


def prototypes(store: TokenStore, candidates: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` candidates of highest usage: (P,) indices into `candidates` (rows of the store).

    With them their potentiation scores, the similarity (P, candidates) with the candidates' shrinkage and the
    prototypes' selection, and their pooled shrinkage (P,).
    """
    usage = store.use[candidates] / store.life[candidates]
    chosen = usage.topk(min(count, candidates.numel())).indices
    rows, shrinkage = candidates[chosen], store.shrinkage[candidates]
    scores = similarity(store.key[candidates], shrinkage, store.key[rows], store.selection[rows])
    return chosen, scores, potentiate(scores, shrinkage[:, None])[:, 0]


def potentiate(scores: Tensor, value: Tensor) -> Tensor:
    """Softmax over all candidates (no top-k), then their pooled values.

    scores (P, n), value (..., n, C) -> (..., P, C).
    """
    with full_precision(value):
        return scores.softmax(1) @ value.to(scores.dtype)


def consolidate(store: TokenStore, candidates: Tensor, num_prototypes: int) -> None:
    """Append prototypes of `candidates` (working rows) to long-term memory, each with its own values.

    A late bucket pools over the candidates it covers, and has values only for prototypes it covers.
    """
    chosen, scores, shrinkage = prototypes(store, candidates, num_prototypes)
    pooled = []
    for bucket in store.buckets:
        covered = bucket.covers[candidates]
        valid = covered[chosen].nonzero().flatten()
        value = bucket.value[:, candidates[covered]]
        pooled.append((bucket, valid, potentiate(scores[valid][:, covered], value)))
    rows = store.append(store.long_term, store.key[candidates[chosen]], shrinkage)
    for bucket, valid, value in pooled:
        store.write(bucket, torch.arange(rows.start, rows.stop, device=valid.device)[valid], value)
