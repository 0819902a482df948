"""Reading at a fixed capacity: tensors of the same shape on every frame, however much is filled.

A captured graph replays addresses and shapes, so it can neither gather the filled rows nor grow with them. What
`Memory` leaves out, this masks out.
"""

import torch
from torch import Tensor

from ..ops.affinity import Affinity, full_precision, memory_columns, query_columns, readout, token_usage, top_k_affinity
from ..types import KeyFeatures
from .manager import Memory


class FixedMemory(Memory):
    """`Memory` that computes with every row of its stores and gives unused ones no weight."""

    def read(self, query: KeyFeatures) -> Tensor:
        """As `Memory.read`; the cost is that of a full memory."""
        store = self.store
        filled = torch.zeros_like(store.use, dtype=torch.bool).index_fill(0, store.filled(), True)
        with full_precision(store.key):
            queries = query_columns(query.key[0].flatten(1).T, query.selection[0].flatten(1).T)
            scores = queries @ memory_columns(store.key, store.shrinkage).nan_to_num().T
        used = self._among(filled, scores)
        store.use += token_usage(used, filled.numel())
        store.life += filled.to(store.life.dtype)
        read = [readout(bucket.value, self._among(filled & bucket.covers, scores)) for bucket in store.buckets]
        return torch.cat(read).transpose(1, 2).unflatten(2, query.key.shape[-2:])[None]

    def _among(self, allowed: Tensor, scores: Tensor) -> Affinity:
        affinity = top_k_affinity(scores.masked_fill(~allowed, -torch.inf), self.config.top_k)
        # Where fewer than top_k rows are allowed the rest weighs nothing, and must not be read: it may hold anything.
        anywhere = allowed.int().argmax()
        return Affinity(torch.where(affinity.weight > 0, affinity.token, anywhere), affinity.weight)
