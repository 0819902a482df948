"""Cutie's memory: each bucket (the objects first added on the same frame) has its own keys, usage and limits."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..config import LateObjects, MemoryConfig
from ..errors import UsageError
from ..model.family import Features
from .consolidation import most_used, prepare_consolidation
from .manager import TokenMemory
from .protocol import MEMORIES
from .store import Commit, TokenStore


@MEMORIES.register("per_bucket")
class PerBucketMemory(TokenMemory):
    """A separate `BucketMemory` for each bucket, so that values of late objects are always paired with their own keys.

    Without long-term memory each bucket keeps its permanent frames and the newest others, so it does not grow with
    the video.
    """

    def __init__(self, config: MemoryConfig, features: Features):
        """Create an empty memory; raises UsageError for settings that this kind of memory does not support."""
        if config.late_objects is LateObjects.published:
            raise UsageError(
                "memory.late_objects=published is a fault of memory.kind=xmem; here each bucket has keys of its own: "
                "use aligned"
            )
        least = config.num_prototypes + config.buffer_tokens
        if config.long_term and config.max_long_term_tokens < least:
            raise UsageError(
                f"memory.max_long_term_tokens={config.max_long_term_tokens} is not possible: it must be at least "
                f"memory.num_prototypes + memory.buffer_tokens ({least})"
            )
        super().__init__(config, features)
        self.buckets: list[BucketMemory] = []

    @property
    def stores(self) -> list[TokenStore]:
        return [bucket.store for bucket in self.buckets]

    def add(self, frame: Features, value: Tensor, permanent: bool = False) -> None:
        """See `Memory.add`; the first frame of a bucket is permanent."""
        key, shrinkage, selection = (x[0].flatten(1).T for x in (frame.key, frame.shrinkage, frame.selection))
        values = value[0].flatten(2).transpose(1, 2)
        before = [(bucket, bucket.store.working.size, bucket.permanent) for bucket in self.buckets]
        try:
            if new := value.shape[1] - self.objects:
                self.buckets = [*self.buckets, BucketMemory(self.config, frame.key, self.frame_tokens)]
                self.buckets[-1].store.add_bucket(new, values.shape[2], values.dtype)
            parts = values.split([store.objects for store in self.stores])
            for bucket, part in zip(self.buckets, parts, strict=True):
                bucket.append(key, shrinkage[:, 0], selection, part, permanent)
            commits = [bucket.prepare_eviction(self.config) for bucket in self.buckets]
        except BaseException:
            self.buckets = [bucket for bucket, _, _ in before]
            for bucket, size, frames in before:
                bucket.store.working.size, bucket.permanent = size, frames
            raise
        for commit in commits:
            commit()

    def remove(self, slot: int) -> None:
        """Remove the object in this slot, and its bucket if that is empty; later objects move up by one slot."""
        super().remove(slot)
        self.buckets = [bucket for bucket in self.buckets if bucket.store.buckets]

    def exported(self) -> dict[str, Tensor]:
        stored = [{**one.store.exported(), "permanent": torch.tensor(one.permanent)} for one in self.buckets]
        return {f"{number}.{name}": x for number, own in enumerate(stored) for name, x in own.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for number in range(len({name.partition(".")[0] for name in tensors})):
            own = {name.partition(".")[2]: x for name, x in tensors.items() if name.partition(".")[0] == str(number)}
            bucket = BucketMemory(self.config, own["key"].T[None, ..., None], self.frame_tokens)
            bucket.store.restore(own)
            bucket.permanent = own["permanent"].tolist()
            self.buckets.append(bucket)


class BucketMemory:
    """Working and long-term memory of one bucket."""

    def __init__(self, config: MemoryConfig, key: Tensor, frame_tokens: int):
        """Create an empty memory without objects; key: (1, C_k, ...), for its size and dtype."""
        self.frame_tokens = frame_tokens
        # One more than fifo_frames, because a new frame is added before the oldest one leaves.
        frames = config.max_working_frames if config.long_term else config.fifo_frames + 1
        self.store = TokenStore(config.max_long_term_tokens if config.long_term else 0, frames * frame_tokens, key)
        self.permanent: list[bool] = []  # for each frame in working memory

    def append(self, key: Tensor, shrinkage: Tensor, selection: Tensor, values: Tensor, permanent: bool) -> None:
        """Add a frame's tokens: key and selection (h * w, C_k), shrinkage (h * w,), values (O, h * w, C_v)."""
        store = self.store
        if store.working.size + self.frame_tokens > store.working.capacity:  # because of an additional permanent frame
            store.grow_working(store.working.capacity + self.frame_tokens)
        rows = store.append(store.working, key, shrinkage, selection)
        store.write(store.buckets[0], rows, values)
        self.permanent = [*self.permanent, permanent or not self.permanent]

    def prepare_eviction(self, config: MemoryConfig) -> Commit:
        """Prepare to consolidate (with long-term memory) or drop the oldest frames if there are too many."""
        store = self.store
        temporary = [frame for frame, permanent in enumerate(self.permanent) if not permanent]
        most = config.max_working_frames - 2 if config.long_term else config.fifo_frames - 1
        if len(temporary) <= most:
            return lambda: None
        remain = config.min_working_frames - 1 if config.long_term else most
        leaving = temporary[: len(temporary) - remain]
        kept = [frame for frame in range(len(self.permanent)) if frame not in leaving]
        self.permanent = [self.permanent[frame] for frame in kept]
        working = self._tokens_of(kept)
        if not config.long_term:
            return store.prepare_compaction(store.working, working)
        limit = config.max_long_term_tokens - config.num_prototypes
        long_term = most_used(store, limit - config.buffer_tokens) if store.long_term.size >= limit else None
        candidates = self._tokens_of(leaving) + store.working.start
        return prepare_consolidation(store, candidates, config.num_prototypes, long_term, working)

    def _tokens_of(self, frames: list[int]) -> Tensor:
        """Return the indices of the frames' tokens within working memory, ascending."""
        starts = torch.tensor(frames, device=self.store.key.device) * self.frame_tokens
        return (starts[:, None] + torch.arange(self.frame_tokens, device=starts.device)).flatten()
