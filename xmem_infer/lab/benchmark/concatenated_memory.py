"""The memory of the published formulation, as the paper writes it: what the benchmark's baselines read from.

Tokens stand in columns; every memory frame is concatenated to what there is, every reading concatenates long-term
and working memory, scores all tokens for all queries, softmaxes the best of them into a dense affinity that is zero
elsewhere, and multiplies it with every value (paper eq. 1-3).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...config import MemoryConfig
from ...errors import UsageError
from ...memory.protocol import MEMORIES
from ...model.family import Features

CONCATENATED = "concatenated"  # its name in MEMORIES


@dataclass
class Tokens:
    """Columns: key (C_k, N), shrinkage (N,), selection (C_k, N), value (O, C_v, N), use (N,), life (N,)."""

    key: Tensor
    shrinkage: Tensor
    selection: Tensor
    value: Tensor
    use: Tensor
    life: Tensor

    def __len__(self) -> int:
        return self.key.shape[1]

    def at(self, columns: Tensor) -> "Tokens":
        """These tokens alone, in this order."""
        return Tokens(*(x[..., columns] for x in self._all()))

    def followed_by(self, other: "Tokens") -> "Tokens":
        """Both, in tensors of their own."""
        return Tokens(*(torch.cat([x, y], -1) for x, y in zip(self._all(), other._all(), strict=True)))

    def _all(self) -> tuple[Tensor, ...]:
        return self.key, self.shrinkage, self.selection, self.value, self.use, self.life


@MEMORIES.register(CONCATENATED)
class ConcatenatedMemory:
    """The numbers of `XMemMemory`, for objects that are all there on the first frame. Values stay in their dtype."""

    def __init__(self, config: MemoryConfig, features: Features):
        self.config = config
        self.frame_tokens = features.key.shape[-2] * features.key.shape[-1]
        self.long_term: Tokens | None = None
        self.working: Tokens | None = None

    @property
    def objects(self) -> int:
        return 0 if self.working is None else self.working.value.shape[0]

    @property
    def working_tokens(self) -> int:
        return 0 if self.working is None else len(self.working)

    @property
    def long_term_tokens(self) -> int:
        return 0 if self.long_term is None else len(self.long_term)

    def read(self, query: Features) -> list[Tensor]:
        """Readout (1, O, C_v, h, w) for a frame, of all objects; counts how much each token was used."""
        assert self.working is not None, "the first frame is remembered before any is read"
        stores = [tokens for tokens in (self.long_term, self.working) if tokens is not None]
        key, shrinkage, value = (
            parts[0] if len(parts) == 1 else torch.cat(parts, -1)
            for parts in ([getattr(store, name) for store in stores] for name in ("key", "shrinkage", "value"))
        )
        query_key, selection = query.key[0].flatten(1), query.selection[0].flatten(1)
        scores = similarity_in_columns(key, shrinkage, query_key, selection)
        best = scores.topk(min(self.config.top_k, len(scores)), dim=0)
        affinity = scores.zero_().scatter_(0, best.indices, best.values.softmax(0))
        for store, used in zip(stores, affinity.sum(1).split([len(store) for store in stores]), strict=True):
            store.use += used
            store.life += 1
        read = value @ affinity.to(value.dtype)
        return [read.unflatten(2, query.key.shape[-2:])[None]]

    def add(self, frame: Features, value: Tensor, permanent: bool = False) -> None:
        """Remember a frame: value (1, O, C_v, h, w); no frame but the first is permanent."""
        if permanent:
            raise UsageError("the baseline's memory knows no permanent frames")
        if self.working is not None and value.shape[1] != self.objects:
            raise UsageError(f"the baseline's memory holds {self.objects} objects and cannot take {value.shape[1]}")
        key, shrinkage, selection = (x[0].flatten(1) for x in (frame.key, frame.shrinkage, frame.selection))
        use = torch.zeros_like(shrinkage[0])
        new = Tokens(key, shrinkage[0], selection, value[0].flatten(2), use, use + 1e-7)
        self.working = new if self.working is None else self.working.followed_by(new)
        if self.config.long_term and len(self.working) >= self.config.max_working_frames * self.frame_tokens:
            self._consolidate()

    def remove(self, slot: int) -> None:
        """Forget the object in this slot; later slots move up."""
        for tokens in (self.long_term, self.working):
            if tokens is not None:
                tokens.value = torch.cat([tokens.value[:slot], tokens.value[slot + 1 :]])

    def detach(self) -> None:
        """Cut the autograd graph that stored numbers carry from frame to frame."""
        for tokens in (self.long_term, self.working):
            for name, x in vars(tokens).items() if tokens is not None else ():
                setattr(tokens, name, x.detach())

    def _consolidate(self) -> None:
        """All but the first and the latest frames leave; their prototypes stay (paper section 3.3)."""
        assert self.working is not None
        recent = len(self.working) - (self.config.min_working_frames - 1) * self.frame_tokens
        index = torch.arange(len(self.working), device=self.working.key.device)
        leaves = (index >= self.frame_tokens) & (index < recent)
        candidates = self.working.at(index[leaves])
        chosen = (candidates.use / candidates.life).topk(min(self.config.num_prototypes, len(candidates))).indices
        scores = similarity_in_columns(
            candidates.key, candidates.shrinkage, candidates.key[:, chosen], candidates.selection[:, chosen]
        )
        pooling = scores.softmax(0)  # over all candidates, no top-k
        prototypes = candidates.at(chosen)
        prototypes.shrinkage = candidates.shrinkage @ pooling
        prototypes.value = candidates.value @ pooling.to(candidates.value.dtype)
        prototypes.use, prototypes.life = torch.zeros_like(prototypes.use), torch.full_like(prototypes.life, 1e-7)
        self._evict()
        self.long_term = prototypes if self.long_term is None else self.long_term.followed_by(prototypes)
        self.working = self.working.at(index[~leaves])

    def _evict(self) -> None:
        """Make room for prototypes: tokens strictly above the k-th smallest usage stay, k being what is too much."""
        surplus = self.long_term_tokens - (self.config.max_long_term_tokens - self.config.num_prototypes)
        if self.long_term is None or surplus <= 0:
            return
        usage = self.long_term.use / self.long_term.life
        self.long_term = self.long_term.at((usage > usage.kthvalue(surplus).values).nonzero().flatten())


def similarity_in_columns(key: Tensor, shrinkage: Tensor, query_key: Tensor, selection: Tensor) -> Tensor:
    """Anisotropic L2 similarity (N, Q) in the keys' dtype: the square multiplied out (paper eq. 2).

    key (C_k, N), shrinkage (N,), query_key and selection (C_k, Q). The published code leaves these products to
    autocast where it is on; so does this.
    """
    squares = key.square().T @ selection
    products = key.T @ (query_key * selection)
    own = (selection * query_key.square()).sum(0)
    return (shrinkage[:, None] * (2 * products - squares - own) / math.sqrt(key.shape[0])).to(key.dtype)
