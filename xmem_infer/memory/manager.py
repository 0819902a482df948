"""Working and long-term memory of one video: add a memory frame, read for a query frame."""

import torch
from torch import Tensor

from ..config import LateObjects, MemoryConfig
from ..ops.affinity import Affinity, readout, token_usage, top_k_affinity
from ..types import KeyFeatures
from .consolidation import consolidate, evict_least_used
from .published import consolidate_as_published
from .store import TokenStore

# Similarities held at once (32 MB in float32). A block of more than 32 MiB is asked from the system anew for every
# product (glibc), which takes longer than the product; smaller ones share less work between queries.
MAX_SCORES = 8_000_000


class Memory:
    """All that is remembered of a video's objects, in slot order, besides their sensory state.

    frame_tokens: h*w. Keys are kept in `like`'s device and dtype, values in the dtype they come in. Without
    long-term memory, working memory grows with the video, as published; with it, both have a capacity.
    """

    def __init__(self, config: MemoryConfig, key_dim: int, value_dim: int, frame_tokens: int, like: Tensor):
        self.config = config
        self.frame_tokens = frame_tokens
        long_term = config.max_long_term_tokens if config.long_term else 0
        working = config.max_working_frames * frame_tokens
        self.store = TokenStore(key_dim, value_dim, long_term, working, like)
        # One entry per working frame: whether it stays for good. The first frame does; so does, unless the
        # published pairing is asked for, the frame on which late objects were given: the only mask a user
        # drew of them must not leave with the candidates.
        self._pinned: list[bool] = []

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

    def read(self, query: KeyFeatures) -> Tensor:
        """Readout (1, O, C_v, h, w) for a frame; counts how much each token was used."""
        store = self.store
        rows = store.filled()
        query_key, selection = _tokens(query.key), _tokens(query.selection)
        # Buckets that cover every token share one affinity; the others choose among their own tokens.
        columns = [bucket.covers[rows].nonzero().flatten() for bucket in store.buckets]
        chunk = max(1, MAX_SCORES // rows.numel())
        scores_of = store.scorer()
        shared: list[Affinity] = []
        own: list[list[Affinity]] = [[] for _ in columns]
        for start in range(0, query_key.shape[0], chunk):
            part = slice(start, start + chunk)
            scores = scores_of(query_key[part], selection[part])
            shared.append(top_k_affinity(scores, self.config.top_k))
            for parts, column in zip(own, columns, strict=True):
                if column.numel() < rows.numel():
                    affinity = top_k_affinity(scores.index_select(1, column), self.config.top_k)
                    parts.append(Affinity(column[affinity.token], affinity.weight))
            del scores  # so that the next ones find its place free: fresh memory costs as much as the product
        all_tokens = _join(shared)
        store.use[rows] += token_usage(all_tokens, rows.numel())
        store.life[rows] += 1
        read = []
        for bucket, parts in zip(store.buckets, own, strict=True):
            affinity = _join(parts) if parts else all_tokens
            read.append(readout(bucket.value, Affinity(rows[affinity.token], affinity.weight)))
        height, width = query.key.shape[-2:]
        return torch.cat(read).transpose(1, 2).unflatten(2, (height, width))[None]

    def add(self, frame: KeyFeatures, value: Tensor) -> None:
        """Remember a frame: value (1, O, C_v, h, w) in slot order; objects beyond the known ones are new."""
        store = self.store
        late = self.objects > 0 and value.shape[1] > self.objects
        if value.shape[1] > self.objects:
            store.add_bucket(value.shape[1] - self.objects, value.dtype)
        self._make_room()
        rows = store.append(store.working, _tokens(frame.key), _tokens(frame.shrinkage)[:, 0], _tokens(frame.selection))
        self._pinned.append(not self._pinned or (late and self.config.late_objects is LateObjects.aligned))
        values = value[0].flatten(2).transpose(1, 2)
        for bucket, part in zip(store.buckets, values.split([b.objects for b in store.buckets]), strict=True):
            store.write(bucket, rows, part)
        self._forget_pins()
        # Pinned frames beside the first one are not counted, so that late objects do not starve the rest.
        if self.config.long_term and self._pinned.count(False) + 1 >= self.config.max_working_frames:
            self._consolidate()

    def remove(self, slot: int) -> None:
        """Forget the object in this slot; later slots move up."""
        bucket, row = self._locate(slot)
        self.store.remove_object(bucket, row)

    def detach(self) -> None:
        """Cut the autograd graph that stored values carry from frame to frame."""
        self.store.detach()

    def _locate(self, slot: int) -> tuple[int, int]:
        for index, bucket in enumerate(self.store.buckets):
            if slot < bucket.objects:
                return index, slot
            slot -= bucket.objects
        raise IndexError("no object in this slot")

    def _make_room(self) -> None:
        region = self.store.working
        if region.size + self.frame_tokens > region.capacity:
            # One frame for a pinned frame more; without long-term memory the length is unknown: double.
            more = self.frame_tokens if self.config.long_term else region.capacity
            self.store.grow_working(region.capacity + more)

    def _forget_pins(self) -> None:
        """Keep pinned frames bounded: beyond max_working_frames late births, the oldest becomes a candidate."""
        late = [index for index, pinned in enumerate(self._pinned) if pinned and index > 0]
        for index in late[: -self.config.max_working_frames]:
            self._pinned[index] = False

    def _consolidate(self) -> None:
        config, store = self.config, self.store
        frames = len(self._pinned)
        recent = frames - (config.min_working_frames - 1)
        leaves = [index < recent and not pinned for index, pinned in enumerate(self._pinned)]
        leaving = torch.tensor(leaves, device=store.key.device).repeat_interleave(self.frame_tokens)
        candidates = leaving.nonzero().flatten() + store.working.start
        evict_least_used(store, config.max_long_term_tokens - config.num_prototypes)
        if config.late_objects is LateObjects.published:
            consolidate_as_published(
                store, candidates, config.num_prototypes, self.frame_tokens, config.min_working_frames
            )
        else:
            consolidate(store, candidates, config.num_prototypes)
            store.keep(store.working, (~leaving).nonzero().flatten())
        self._pinned = [pinned for pinned, left in zip(self._pinned, leaves, strict=True) if not left]


def _tokens(x: Tensor) -> Tensor:
    """(1, C, h, w) -> (h*w, C)."""
    return x[0].flatten(1).T


def _join(parts: list[Affinity]) -> Affinity:
    if len(parts) == 1:
        return parts[0]
    return Affinity(torch.cat([p.token for p in parts]), torch.cat([p.weight for p in parts]))
