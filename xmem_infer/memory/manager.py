"""XMem's memory of one video: add memory frames, read for query frames, consolidate when working memory is full."""

from collections.abc import Mapping, Sequence
from enum import Enum

import torch
from torch import Tensor

from ..config import LateObjects, MemoryConfig
from ..errors import UsageError
from ..model.family import Features
from ..ops.affinity import Affinity, readout, token_usage, top_k_affinity
from ..ops.best_tokens import scan, worth_scanning
from .consolidation import prepare_consolidation, survivors
from .protocol import MEMORIES
from .published import prepare_published_consolidation
from .store import Commit, TokenStore

# Similarities computed at once (32 MB in float32). glibc requests each block of more than 32 MiB anew from the system,
# which takes longer than the product itself; smaller blocks share less work between queries.
MAX_SCORES = 8_000_000


class TokenMemory:
    """What memories made of token stores have in common, see `Memory`."""

    def __init__(self, config: MemoryConfig, features: Features):
        self.config = config
        self.frame_tokens = features.key.shape[-2] * features.key.shape[-1]

    @property
    def stores(self) -> list[TokenStore]:
        """The stores, whose buckets hold the objects in slot order."""
        raise NotImplementedError

    @property
    def objects(self) -> int:
        return sum(store.objects for store in self.stores)

    @property
    def working_tokens(self) -> int:
        return sum(store.working.size for store in self.stores)

    @property
    def long_term_tokens(self) -> int:
        return sum(store.long_term.size for store in self.stores)

    def read(self, query: Features) -> list[Tensor]:
        """Return the readout (1, objects, C_v, h, w) of each bucket, and count how much each token was used."""
        query_key, selection = (x[0].flatten(1).T for x in (query.key, query.selection))
        readouts, used = [], []
        for store in self.stores:
            rows = store.filled
            # Buckets that cover all tokens share one affinity (None); each of the others chooses among its own tokens.
            columns = [bucket.covers[rows].nonzero().flatten() for bucket in store.buckets]
            choices = [None, *(column for column in columns if column.numel() < rows.numel())]
            all_tokens, *own = affinities(store, query_key, selection, self.config.top_k, choices)
            for bucket, column in zip(store.buckets, columns, strict=True):
                affinity = own.pop(0) if column.numel() < rows.numel() else all_tokens
                read = readout(bucket.value, Affinity(rows[affinity.token], affinity.weight))
                readouts.append(read.transpose(1, 2).unflatten(2, query.key.shape[-2:])[None])
            used.append((store, rows, token_usage(all_tokens, rows.numel())))
        for store, rows, usage in used:  # last, so that a failed read counts nothing
            store.count_use(rows, usage)
        return readouts

    def undo_read(self) -> None:
        """Undo the usage counts of the last `read`."""
        for store in self.stores:
            store.undo_use()

    def remove(self, slot: int) -> None:
        """Remove the object in this slot; later objects move up by one slot."""
        for store in self.stores:
            for bucket in store.buckets:
                if slot < bucket.objects:
                    store.remove_object(bucket, slot)
                    return
                slot -= bucket.objects
        raise IndexError("no object in this slot")

    def detach(self) -> None:
        """Detach stored tensors from the autograd graph."""
        for store in self.stores:
            store.detach()


class Kept(Enum):
    """How long a frame stays in working memory."""

    until_consolidated = "until consolidated"
    late_birth = "late birth"  # on which an object was given after the first frame; never leaves, see _limit_births
    permanent = "permanent"  # the first frame, and frames added with permanent=True


@MEMORIES.register("xmem")
class XMemMemory(TokenMemory):
    """The paper's memory (sections 3.2 and 3.3): working tokens, and prototypes of the tokens consolidated so far.

    Keys are stored on the device and in the dtype of the features, values in their own dtype. With long-term memory
    both regions have a fixed capacity, which grows by h*w tokens for each permanent frame after the first. Without it,
    working memory grows with the video, as published.
    """

    def __init__(self, config: MemoryConfig, features: Features):
        super().__init__(config, features)
        long_term = config.max_long_term_tokens if config.long_term else 0
        self.store = TokenStore(long_term, config.max_working_frames * self.frame_tokens, features.key)
        self._kept: list[Kept] = []  # for each frame in working memory

    @property
    def stores(self) -> list[TokenStore]:
        return [self.store]

    def add(self, frame: Features, value: Tensor, permanent: bool = False) -> None:
        """Add a memory frame; see `Memory.add`.

        Raises:
            UsageError: `permanent` with `memory.late_objects=published`, which cannot pair values with such frames.
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
            # With long-term memory the region is full only because one more frame never leaves: add room for one.
            # Without it the final size is unknown: double the capacity.
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
            self._limit_births()
            # max_working_frames counts the first frame and the frames that can leave, as published: other permanent
            # frames must not take the place of those.
            counted = self._kept.count(Kept.until_consolidated) + 1
            full = config.long_term and counted >= config.max_working_frames
            commit = self._prepare_consolidation() if full else None
        except BaseException:
            region.size, store.buckets, self._kept = size, buckets, before
            raise
        if commit:
            commit()

    def exported(self) -> dict[str, Tensor]:
        return {**self.store.exported(), "kept": torch.tensor([list(Kept).index(kept) for kept in self._kept])}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.store.restore(tensors)
        self._kept = [list(Kept)[number] for number in tensors["kept"].tolist()]

    def _limit_births(self) -> None:
        """Protect only the newest max_working_frames late births: older ones become ordinary frames."""
        births = [index for index, kept in enumerate(self._kept) if kept is Kept.late_birth]
        for index in births[: -self.config.max_working_frames]:
            self._kept[index] = Kept.until_consolidated

    def _prepare_consolidation(self) -> Commit:
        config, store = self.config, self.store
        recent = len(self._kept) - (config.min_working_frames - 1)  # index of the first frame too recent to leave
        leaves = [index < recent and kept is Kept.until_consolidated for index, kept in enumerate(self._kept)]
        leaving = torch.tensor(leaves, device=store.key.device).repeat_interleave(self.frame_tokens)
        candidates = leaving.nonzero().flatten() + store.working.start
        long_term = survivors(store, config.max_long_term_tokens - config.num_prototypes)
        tokens = candidates, config.num_prototypes, long_term, (~leaving).nonzero().flatten()
        if config.late_objects is LateObjects.published:
            commit = prepare_published_consolidation(store, *tokens, self.frame_tokens, config.min_working_frames)
        else:
            commit = prepare_consolidation(store, *tokens)
        self._kept = [kept for kept, left in zip(self._kept, leaves, strict=True) if not left]
        return commit


def affinities(
    store: TokenStore, query_key: Tensor, selection: Tensor, top_k: int, choices: Sequence[Tensor | None]
) -> list[Affinity]:
    """Return the affinity of queries (Q, C_k) to the filled rows of a store, once for each choice of tokens.

    A choice is None for all tokens, or the indices (n,) of some of them.
    """
    keys, tokens = store.packed_keys(), store.size
    if worth_scanning(query_key.device, query_key.dtype, query_key.shape[0] * tokens):
        scanned = scan(keys, query_key, selection, top_k, choices)
        if scanned is not None:
            return scanned
    chunk = max(1, MAX_SCORES // tokens)
    parts: list[list[Affinity]] = [[] for _ in choices]
    for queries in zip(query_key.split(chunk), selection.split(chunk), strict=True):
        scores = keys.similarity(*queries)
        for found, column in zip(parts, choices, strict=True):
            if column is None:
                found.append(top_k_affinity(scores, top_k))
            else:
                affinity = top_k_affinity(scores.index_select(1, column), top_k)
                found.append(Affinity(column[affinity.token], affinity.weight))
        del scores  # its block is reused for the next chunk: new memory costs as much time as the product
    return [Affinity(*map(torch.cat, zip(*found, strict=True))) for found in parts]
