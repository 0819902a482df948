"""Working and long-term memory of one video: add a memory frame, read for a query frame."""

from collections.abc import Mapping
from enum import Enum

import torch
from torch import Tensor

from ..config import LateObjects, MemoryConfig
from ..errors import UsageError
from ..model.family import Features
from ..ops.affinity import Affinity, padded_count, readout, token_usage, top_k_affinity
from ..ops.best_tokens import scan, worth_scanning
from .consolidation import consolidation, survivors
from .protocol import MEMORIES
from .published import consolidation_as_published
from .store import Change, TokenStore

# Similarities held at once (32 MB in float32). A block of more than 32 MiB is asked from the system anew for every
# product (glibc), which takes longer than the product; smaller ones share less work between queries.
MAX_SCORES = 8_000_000


class Kept(Enum):
    """How long a working frame stays."""

    until_consolidated = "until consolidated"
    late_birth = "late birth"  # the only mask a user gave of an object; for good, but only so many of them
    permanent = "permanent"  # the first frame, and those asked for


@MEMORIES.register("xmem")
class XMemMemory:
    """The paper's memory (sections 3.2 and 3.3): working tokens, and prototypes of those that left.

    Keys are kept in the features' device and dtype, values in the dtype they come in. With long-term memory both
    stores have a capacity, to which every permanent frame beside the first adds h*w tokens. Without it, working
    memory grows with the video, as published.
    """

    def __init__(self, config: MemoryConfig, features: Features):
        self.config = config
        self.frame_tokens = features.key.shape[-2] * features.key.shape[-1]
        long_term = config.max_long_term_tokens if config.long_term else 0
        working = config.max_working_frames * self.frame_tokens
        self.store = TokenStore(long_term, working, features.key)
        self._kept: list[Kept] = []  # of each working frame

    @property
    def working_tokens(self) -> int:
        return self.store.working.size

    @property
    def long_term_tokens(self) -> int:
        return self.store.long_term.size

    @property
    def buckets(self) -> int:
        return len(self.store.buckets)

    @property
    def objects(self) -> int:
        return sum(bucket.objects for bucket in self.store.buckets)

    def read(self, query: Features) -> list[Tensor]:
        """Readouts for a frame by bucket; counts how much each token was used."""
        store, rows = self.store, self.store.filled
        query_key, selection = (x[0].flatten(1).T for x in (query.key, query.selection))
        # Buckets that cover every token share one affinity; the others choose among their own tokens.
        columns = [bucket.covers[rows].nonzero().flatten() for bucket in store.buckets]
        among = [None, *(column for column in columns if column.numel() < rows.numel())]
        keys, top_k = store.packed_keys(), self.config.top_k
        count = query_key.shape[0] * rows.numel()
        compiled = worth_scanning(query_key.device, query_key.dtype, count)
        found = scan(keys, query_key, selection, top_k, among) if compiled else None
        if found is None:
            chunk = max(1, MAX_SCORES // padded_count(rows.numel()))
            parts: list[list[Affinity]] = [[] for _ in among]
            for start in range(0, query_key.shape[0], chunk):
                part = slice(start, start + chunk)
                scores = keys.similarity(query_key[part], selection[part])
                for affinities, column in zip(parts, among, strict=True):
                    if column is None:
                        affinities.append(top_k_affinity(scores, top_k))
                    else:
                        affinity = top_k_affinity(scores.index_select(1, column), top_k)
                        affinities.append(Affinity(column[affinity.token], affinity.weight))
                del scores  # the next ones take its place: fresh memory costs as much as the product
            found = [Affinity(*map(torch.cat, zip(*affinities, strict=True))) for affinities in parts]
        all_tokens, own = found[0], iter(found[1:])
        size = query.key.shape[-2:]
        readouts = []
        for bucket, column in zip(store.buckets, columns, strict=True):
            affinity = next(own) if column.numel() < rows.numel() else all_tokens
            read = readout(bucket.value, Affinity(rows[affinity.token], affinity.weight))
            readouts.append(read.transpose(1, 2).unflatten(2, size)[None])
        store.count_use(rows, token_usage(all_tokens, rows.numel()))  # last: a reading that fails counts nothing
        return readouts

    def undo_read(self) -> None:
        """Forget that the last `read` happened."""
        self.store.undo_use()

    def add(self, frame: Features, value: Tensor, permanent: bool = False) -> None:
        """Remember a frame: value (1, O, C_v, h, w) in slot order; objects beyond the known ones are new.

        Raises:
            UsageError: `permanent` with `memory.late_objects=published`, whose pairing knows no such frames.
        """
        store, config = self.store, self.config
        published = config.late_objects is LateObjects.published
        if permanent and published:
            raise UsageError("permanent frames are not possible with memory.late_objects=published: use aligned")
        kept = Kept.until_consolidated
        if permanent or not self._kept:
            kept = Kept.permanent
        elif value.shape[1] > self.objects > 0 and not published:
            kept = Kept.late_birth
        region = store.working
        if region.size + self.frame_tokens > region.capacity:
            # One frame for a kept frame more; without long-term memory the length is unknown: double.
            store.grow_working(region.capacity + (self.frame_tokens if config.long_term else region.capacity))
        key, shrinkage, selection = (x[0].flatten(1).T for x in (frame.key, frame.shrinkage, frame.selection))
        values = value[0].flatten(2).transpose(1, 2)
        size, buckets, before = region.size, list(store.buckets), self._kept
        try:
            if value.shape[1] > self.objects:
                store.add_bucket(value.shape[1] - self.objects, value.shape[2], value.dtype)
            rows = store.append(region, key, shrinkage[:, 0], selection)
            for bucket, part in zip(store.buckets, values.split([b.objects for b in store.buckets]), strict=True):
                store.write(bucket, rows, part)
            self._kept = [*before, kept]
            self._release_oldest_birth()
            # The published count is of the first frame and those that can leave: others must not starve the rest.
            leaving = self._kept.count(Kept.until_consolidated) + 1
            change = self._consolidation() if config.long_term and leaving >= config.max_working_frames else None
        except BaseException:
            region.size, store.buckets, self._kept = size, buckets, before
            raise
        if change:
            change()

    def remove(self, slot: int) -> None:
        """Forget the object in this slot; later slots move up."""
        for bucket in self.store.buckets:
            if slot < bucket.objects:
                self.store.remove_object(bucket, slot)
                return
            slot -= bucket.objects
        raise IndexError("no object in this slot")

    def exported(self) -> dict[str, Tensor]:
        """See `Memory.exported`."""
        return {**self.store.exported(), "kept": torch.tensor([list(Kept).index(kept) for kept in self._kept])}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Memory.restore`."""
        self.store.restore(tensors)
        self._kept = [list(Kept)[number] for number in tensors["kept"].tolist()]

    def detach(self) -> None:
        """Cut the autograd graph that stored values carry from frame to frame."""
        self.store.detach()

    def _release_oldest_birth(self) -> None:
        """Keep at most max_working_frames late births: the oldest one beyond that becomes an ordinary frame."""
        births = [index for index, kept in enumerate(self._kept) if kept is Kept.late_birth]
        for index in births[: -self.config.max_working_frames]:
            self._kept[index] = Kept.until_consolidated

    def _consolidation(self) -> Change:
        config, store = self.config, self.store
        recent = len(self._kept) - (config.min_working_frames - 1)
        leaves = [index < recent and kept is Kept.until_consolidated for index, kept in enumerate(self._kept)]
        leaving = torch.tensor(leaves, device=store.key.device).repeat_interleave(self.frame_tokens)
        candidates = leaving.nonzero().flatten() + store.working.start
        stay = survivors(store, config.max_long_term_tokens - config.num_prototypes)
        tokens = candidates, config.num_prototypes, stay, (~leaving).nonzero().flatten()
        if config.late_objects is LateObjects.published:
            change = consolidation_as_published(store, *tokens, self.frame_tokens, config.min_working_frames)
        else:
            change = consolidation(store, *tokens)
        self._kept = [kept for kept, left in zip(self._kept, leaves, strict=True) if not left]
        return change
