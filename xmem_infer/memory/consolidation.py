"""Moving tokens from working to long-term memory (paper section 3.3): eviction, prototypes, potentiation."""

from torch import Tensor

from ..ops.affinity import full_precision, similarity
from .store import Commit, TokenStore


def survivors(store: TokenStore, limit: int) -> Tensor | None:
    """Return the indices of the long-term tokens to keep so that at most `limit` remain; None to keep all.

    Kept are the tokens strictly above the k-th smallest usage, k = size - limit: ties with it are evicted too.
    """
    surplus = store.long_term.size - limit
    if surplus <= 0:
        return None
    usage = store.usage(store.long_term.rows)
    return (usage > usage.kthvalue(surplus).values).nonzero().flatten()


def most_used(store: TokenStore, count: int) -> Tensor:
    """Return the indices of the `count` long-term tokens of highest usage, ascending."""
    return store.usage(store.long_term.rows).topk(min(count, store.long_term.size)).indices.sort().values


def prototypes(store: TokenStore, candidates: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose P prototypes, the (at most) `count` candidates (rows of the store, (n,)) of highest usage.

    Returns their indices in `candidates` (P,); their similarity to all candidates (P, n), with the candidates'
    shrinkage and the prototypes' selection; and their pooled shrinkage (P,).
    """
    chosen = store.usage(candidates).topk(min(count, candidates.numel())).indices
    rows, shrinkage = candidates[chosen], store.shrinkage[candidates]
    scores = similarity(store.key[candidates], shrinkage, store.key[rows], store.selection[rows])
    return chosen, scores, potentiate(scores, shrinkage[:, None])[:, 0]


def potentiate(scores: Tensor, value: Tensor) -> Tensor:
    """Pool by the softmax over all candidates (no top-k): scores (P, n), value (..., n, C) -> (..., P, C)."""
    with full_precision(value):
        return scores.softmax(1) @ value.to(scores.dtype)


def prepare_consolidation(
    store: TokenStore, candidates: Tensor, num_prototypes: int, long_term: Tensor | None, working: Tensor
) -> Commit:
    """Prepare to replace `candidates` (rows of working memory) by their prototypes in long-term memory.

    Each prototype keeps its own values: a bucket of late objects pools over the candidates that it covers, and gets
    values only for prototypes that it covers. `long_term` and `working`: see `prepare_exchange`.
    """
    chosen, scores, shrinkage = prototypes(store, candidates, num_prototypes)
    key = store.key[candidates[chosen]]
    first = store.long_term.start + (store.long_term.size if long_term is None else long_term.numel())
    pooled = []
    for bucket in store.buckets:
        covered = bucket.covers[candidates]
        valid = covered[chosen].nonzero().flatten()
        value = bucket.value[:, candidates[covered]]
        value = potentiate(scores[valid][:, covered], value).to(bucket.value.dtype)
        pooled.append((bucket, valid + first, value))

    def write_values() -> None:
        for bucket, rows, value in pooled:
            store.write(bucket, rows, value)

    return prepare_exchange(store, key, shrinkage, long_term, working, write_values)


def prepare_exchange(
    store: TokenStore, key: Tensor, shrinkage: Tensor, long_term: Tensor | None, working: Tensor, write_values: Commit
) -> Commit:
    """Prepare to compact both regions, append prototypes (P, C_k) to long-term memory and write their values.

    `long_term` (None: all) and `working` are the indices of the tokens that stay in each region.
    """
    compactions = [] if long_term is None else [store.prepare_compaction(store.long_term, long_term)]
    compactions.append(store.prepare_compaction(store.working, working))

    def commit() -> None:
        for compact in compactions:
            compact()
        store.append(store.long_term, key, shrinkage)
        write_values()

    return commit
