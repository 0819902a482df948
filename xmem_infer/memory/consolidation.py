"""From working to long-term memory (paper section 3.3): eviction, prototypes, potentiation."""

from torch import Tensor

from ..ops.affinity import full_precision, similarity
from .store import Change, TokenStore


def survivors(store: TokenStore, limit: int) -> Tensor | None:
    """Indices of the tokens of long-term memory that stay when it holds more than `limit`; None: all of them.

    They are strictly above the k-th smallest usage, k = size - limit; so ties go too, and k = 0 evicts
    nothing.
    """
    region = store.long_term
    surplus = region.size - limit
    if surplus <= 0:
        return None
    usage = _long_term_usage(store)
    return (usage > usage.kthvalue(surplus).values).nonzero().flatten()


def most_used(store: TokenStore, count: int) -> Tensor:
    """Indices of the `count` tokens of long-term memory of highest usage."""
    return _long_term_usage(store).topk(min(count, store.long_term.size)).indices.sort().values


def _long_term_usage(store: TokenStore) -> Tensor:
    rows = slice(store.long_term.start, store.long_term.stop)
    return store.use[rows] / store.life[rows]


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


def consolidation(
    store: TokenStore, candidates: Tensor, num_prototypes: int, stay: Tensor | None, working: Tensor
) -> Change:
    """Appends prototypes of `candidates` (working rows) to long-term memory, each with its own values.

    A late bucket pools over the candidates it covers, and has values only for prototypes it covers. `stay` (None: all)
    and `working` are indices of the tokens that stay in long-term and in working memory.
    """
    chosen, scores, shrinkage = prototypes(store, candidates, num_prototypes)
    key = store.key[candidates[chosen]]
    first = store.long_term.start + (store.long_term.size if stay is None else stay.numel())
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

    return exchange(store, key, shrinkage, stay, working, write_values)


def exchange(
    store: TokenStore, key: Tensor, shrinkage: Tensor, stay: Tensor | None, working: Tensor, write_values: Change
) -> Change:
    """Lets tokens leave both regions, appends prototypes (P, C_k) to long-term memory, and then writes values."""
    changes = [] if stay is None else [store.keeping(store.long_term, stay)]
    changes.append(store.keeping(store.working, working))

    def change() -> None:
        for leave in changes:
            leave()
        store.append(store.long_term, key, shrinkage)
        write_values()

    return change
