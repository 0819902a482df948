"""The published formulation, built from this project's plain parts, as the baseline of benchmarks.

Contiguous (NCHW) convolutions, memory grown by concatenation, a dense affinity of which all but the top-k are
zero, and its product with all values. Same numbers, other arithmetic.
"""

import torch
from torch import Tensor

from ..engine.engine import Engine
from ..memory.manager import Memory
from ..model.network import XMem
from ..model.prepared import Prepared
from ..ops.affinity import similarity, top_k_affinity
from ..types import KeyFeatures


class DenseMemory(Memory):
    """Memory whose reading multiplies the dense affinity with every value."""

    def read(self, query: KeyFeatures) -> Tensor:
        """As `Memory.read`, one bucket."""
        store, rows = self.store, self.store.filled()
        query_key, selection = (x[0].flatten(1).T for x in (query.key, query.selection))
        scores = similarity(store.key[rows], store.shrinkage[rows], query_key, selection)
        best = top_k_affinity(scores, self.config.top_k)
        affinity = torch.zeros_like(scores).scatter_(1, best.token, best.weight)
        store.use[rows] += affinity.sum(0)
        store.life[rows] += 1
        (bucket,) = store.buckets
        value = bucket.value[:, rows]  # a copy, as concatenating the stores is
        read = affinity @ value
        height, width = query.key.shape[-2:]
        return read.transpose(1, 2).unflatten(2, (height, width))[None]


class PublishedEngine(Engine):
    """The frame loop over `DenseMemory`."""

    memory_class = DenseMemory


def prepare_published(network: XMem) -> Prepared:
    """The network as it is built, contiguous, without any preparation."""
    network = network.to(memory_format=torch.contiguous_format).eval()
    device = next(network.parameters()).device
    return Prepared(network.encode_key, network.encode_value, network.segment, network.sizes, device)
