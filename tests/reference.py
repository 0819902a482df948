"""Slow, simple reference implementations, written from the specification."""

import math
from dataclasses import dataclass, field

import torch


def similarity_by_definition(memory_key, shrinkage, query_key, selection):
    """S(m, q) = - s_m / sqrt(C) * sum_c e_qc (k_mc - k_qc)^2, one pair at a time: (Q, N)."""
    scores = torch.zeros(len(query_key), len(memory_key), dtype=memory_key.dtype)
    for q in range(len(query_key)):
        for m in range(len(memory_key)):
            distance = (selection[q] * (memory_key[m] - query_key[q]) ** 2).sum()
            scores[q, m] = -shrinkage[m] / math.sqrt(memory_key.shape[1]) * distance
    return scores


def softmax_of_best(scores, top_k):
    """Dense affinity (Q, N): softmax over the top_k best of each row, zero elsewhere."""
    affinity = torch.zeros_like(scores)
    for q, row in enumerate(scores):
        best = sorted(range(len(row)), key=lambda m: -row[m].item())[:top_k]
        weights = torch.softmax(row[best], 0)
        for weight, m in zip(weights, best, strict=True):
            affinity[q, m] = weight
    return affinity


@dataclass
class Token:
    """One memory token; values by object id, for objects that existed when it was added."""

    key: torch.Tensor
    shrinkage: torch.Tensor
    selection: torch.Tensor | None
    values: dict[int, torch.Tensor]
    use: float = 0.0
    life: float = 1e-7


@dataclass
class ReferenceMemory:
    """The memory of the specification with plain lists of tokens, late objects aligned.

    working: list of frames, each a list of tokens; pinned frames never leave.
    """

    top_k: int
    min_frames: int
    max_frames: int
    prototypes: int
    max_long_term: int
    births: dict[int, int] = field(default_factory=dict)  # object -> its bucket
    working: list = field(default_factory=list)
    pinned: list = field(default_factory=list)
    long_term: list = field(default_factory=list)

    def tokens(self):
        return self.long_term + [token for frame in self.working for token in frame]

    def read(self, query_key, selection):
        """Readout (O, Q, C_v), objects in order of id."""
        everything = self.tokens()
        readouts = []
        for bucket in sorted(set(self.births.values())):
            members = [obj for obj, born in sorted(self.births.items()) if born == bucket]
            known = [token for token in everything if members[0] in token.values]
            affinity = self._affinity(known, query_key, selection)
            for obj in members:
                values = torch.stack([token.values[obj] for token in known])
                readouts.append(affinity @ values)
        usage = self._affinity(everything, query_key, selection).sum(0)
        for token, used in zip(everything, usage.tolist(), strict=True):
            token.use += used
            token.life += 1
        return torch.stack(readouts)

    def _affinity(self, tokens, query_key, selection):
        keys = torch.stack([token.key for token in tokens])
        shrinkage = torch.stack([token.shrinkage for token in tokens])
        return softmax_of_best(similarity_by_definition(keys, shrinkage, query_key, selection), self.top_k)

    def add(self, key, shrinkage, selection, values):
        """key (n, C), shrinkage (n,), selection (n, C), values {object: (n, C_v)}."""
        new = [obj for obj in values if obj not in self.births]
        late = bool(self.births) and bool(new)
        bucket = len(set(self.births.values()))
        self.births.update({obj: bucket for obj in new})
        frame = [
            Token(key[i], shrinkage[i], selection[i], {obj: value[i] for obj, value in values.items()})
            for i in range(len(key))
        ]
        self.working.append(frame)
        self.pinned.append(len(self.working) == 1 or late)
        births_kept = [i for i, pinned in enumerate(self.pinned) if pinned and i > 0]
        if len(births_kept) > self.max_frames:
            self.pinned[births_kept[0]] = False
        if self.pinned.count(False) + 1 >= self.max_frames:
            self._consolidate()

    def _consolidate(self):
        limit = self.max_long_term - self.prototypes
        surplus = len(self.long_term) - limit
        if surplus > 0:
            threshold = sorted(token.use / token.life for token in self.long_term)[surplus - 1]
            self.long_term = [token for token in self.long_term if token.use / token.life > threshold]
        oldest_kept = len(self.working) - (self.min_frames - 1)
        leaves = [i < oldest_kept and not pinned for i, pinned in enumerate(self.pinned)]
        candidates = [token for frame, left in zip(self.working, leaves, strict=True) if left for token in frame]
        chosen = sorted(candidates, key=lambda token: -token.use / token.life)[: self.prototypes]
        self.long_term += [self._potentiated(token, candidates) for token in chosen]
        self.working = [frame for frame, left in zip(self.working, leaves, strict=True) if not left]
        self.pinned = [pinned for pinned, left in zip(self.pinned, leaves, strict=True) if not left]

    def _potentiated(self, token, candidates):
        def pool(tokens, read):
            scores = similarity_by_definition(
                torch.stack([t.key for t in tokens]),
                torch.stack([t.shrinkage for t in tokens]),
                token.key[None],
                token.selection[None],
            )[0]
            return sum(weight * read(t) for weight, t in zip(torch.softmax(scores, 0), tokens, strict=True))

        values = {
            obj: pool([t for t in candidates if obj in t.values], lambda t, obj=obj: t.values[obj])
            for obj in token.values
        }
        return Token(token.key, pool(candidates, lambda t: t.shrinkage), None, values)
