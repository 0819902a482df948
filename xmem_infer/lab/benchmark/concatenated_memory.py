"""The memory of the published formulation, which the benchmark's baselines use.

Tokens are stored in columns. Each memory frame is concatenated to the stored tokens. Each read concatenates long-term
and working memory, scores all tokens against all queries, writes the softmax of the top k into a dense affinity matrix
that is zero elsewhere, and multiplies that matrix with all values (paper eq. 1-3).
"""

import math

import torch
from torch import Tensor

from ...config import MemoryConfig
from ...errors import UsageError
from ...memory.protocol import MEMORIES
from ...model.family import Features

CONCATENATED = "concatenated"  # its name in MEMORIES
Tokens = dict[str, Tensor]  # key (C_k, N), shrinkage (N,), selection (C_k, N), value (O, C_v, N), use (N,), life (N,)


@MEMORIES.register(CONCATENATED)
class ConcatenatedMemory:
    """Computes what `XMemMemory` computes, for objects that all appear on the first frame. Values keep their dtype."""

    def __init__(self, config: MemoryConfig, features: Features):
        self.config = config
        self.frame_tokens = features.key.shape[-2] * features.key.shape[-1]
        self.long_term: Tokens = {}
        self.working: Tokens = {}

    @property
    def objects(self) -> int:
        return len(self.working["value"]) if self.working else 0

    @property
    def working_tokens(self) -> int:
        return _count(self.working)

    @property
    def long_term_tokens(self) -> int:
        return _count(self.long_term)

    def read(self, query: Features) -> list[Tensor]:
        """Return the readout (1, O, C_v, h, w) of all objects for a frame, and count how much each token was used."""
        stores = [tokens for tokens in (self.long_term, self.working) if tokens]
        key, shrinkage, value = (
            stores[0][name] if len(stores) == 1 else torch.cat([tokens[name] for tokens in stores], -1)
            for name in ("key", "shrinkage", "value")
        )
        scores = similarity_in_columns(key, shrinkage, query.key[0].flatten(1), query.selection[0].flatten(1))
        best = scores.topk(min(self.config.top_k, len(scores)), dim=0)
        affinity = scores.zero_().scatter_(0, best.indices, best.values.softmax(0))
        for tokens, used in zip(stores, affinity.sum(1).split([_count(tokens) for tokens in stores]), strict=True):
            tokens["use"] += used
            tokens["life"] += 1
        read = value @ affinity.to(value.dtype)
        return [read.unflatten(2, query.key.shape[-2:])[None]]

    def undo_read(self) -> None:
        """Do nothing: a benchmark ends at its first failure, so no read is ever undone."""

    def add(self, frame: Features, value: Tensor, permanent: bool = False) -> None:
        """Store a frame with its value (1, O, C_v, h, w). The first frame is permanent, no other frame can be."""
        if permanent:
            raise UsageError("the baseline's memory knows no permanent frames")
        if self.working and value.shape[1] != self.objects:
            raise UsageError(f"the baseline's memory holds {self.objects} objects and cannot take {value.shape[1]}")
        key, shrinkage, selection = (x[0].flatten(1) for x in (frame.key, frame.shrinkage, frame.selection))
        new = {"key": key, "shrinkage": shrinkage[0], "selection": selection, "value": value[0].flatten(2)}
        self.working = _joined(self.working, _unused(new))
        if self.config.long_term and self.working_tokens >= self.config.max_working_frames * self.frame_tokens:
            self._consolidate()

    def remove(self, slot: int) -> None:
        """Remove the object in this slot; later slots move up."""
        for tokens in filter(None, (self.long_term, self.working)):
            tokens["value"] = torch.cat([tokens["value"][:slot], tokens["value"][slot + 1 :]])

    def detach(self) -> None:
        """Detach all stored tensors from the autograd graph, which would otherwise grow from frame to frame."""
        for tokens in (self.long_term, self.working):
            tokens.update({name: x.detach() for name, x in tokens.items()})

    def _consolidate(self) -> None:
        """Replace all working frames but the first and the most recent ones by their prototypes (paper section 3.3)."""
        recent = self.working_tokens - (self.config.min_working_frames - 1) * self.frame_tokens
        index = torch.arange(self.working_tokens, device=self.working["key"].device)
        leaves = (index >= self.frame_tokens) & (index < recent)
        candidates = _at(self.working, index[leaves])
        usage = candidates["use"] / candidates["life"]
        prototypes = _at(candidates, usage.topk(min(self.config.num_prototypes, len(usage))).indices)
        scores = similarity_in_columns(
            candidates["key"], candidates["shrinkage"], prototypes["key"], prototypes["selection"]
        )
        pooling = scores.softmax(0)  # over all candidates, no top-k
        prototypes["shrinkage"] = candidates["shrinkage"] @ pooling
        prototypes["value"] = candidates["value"] @ pooling.to(candidates["value"].dtype)
        self._evict()
        self.long_term = _joined(self.long_term, _unused(prototypes))
        self.working = _at(self.working, index[~leaves])

    def _evict(self) -> None:
        """Make room for new prototypes: keep the tokens whose usage is above the k-th smallest, k being the surplus."""
        surplus = self.long_term_tokens - (self.config.max_long_term_tokens - self.config.num_prototypes)
        if self.long_term and surplus > 0:
            usage = self.long_term["use"] / self.long_term["life"]
            self.long_term = _at(self.long_term, (usage > usage.kthvalue(surplus).values).nonzero().flatten())


def similarity_in_columns(key: Tensor, shrinkage: Tensor, query_key: Tensor, selection: Tensor) -> Tensor:
    """Return the anisotropic L2 similarity (N, Q) in the dtype of the keys, with the square expanded (paper eq. 2).

    key (C_k, N), shrinkage (N,), query_key and selection (C_k, Q). As in the published code, autocast applies.
    """
    squares = key.square().T @ selection
    products = key.T @ (query_key * selection)
    own = (selection * query_key.square()).sum(0)
    return (shrinkage[:, None] * (2 * products - squares - own) / math.sqrt(key.shape[0])).to(key.dtype)


def _count(tokens: Tokens) -> int:
    return len(tokens["use"]) if tokens else 0


def _at(tokens: Tokens, columns: Tensor) -> Tokens:
    return {name: x[..., columns] for name, x in tokens.items()}


def _joined(tokens: Tokens, new: Tokens) -> Tokens:
    return {name: torch.cat([tokens[name], x], -1) for name, x in new.items()} if tokens else new


def _unused(tokens: Tokens) -> Tokens:
    use = torch.zeros_like(tokens["shrinkage"])
    return {**tokens, "use": use, "life": use + 1e-7}
