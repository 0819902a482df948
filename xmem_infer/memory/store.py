"""Token storage: one set of preallocated buffers, split into a long-term and a working region.

Each row is a token. Long-term memory is filled from row 0, working memory from its own first row; the rows between them
are unused. A value is stored in the row of its key, so values of late objects are always paired with their own keys.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError
from ..ops.affinity import PackedKeys, full_precision, memory_columns


@dataclass
class Region:
    """A range of rows: [start, start + size) are filled, out of [start, start + capacity)."""

    start: int
    capacity: int
    size: int = 0

    @property
    def stop(self) -> int:
        return self.start + self.size

    @property
    def rows(self) -> slice:
        """The filled rows."""
        return slice(self.start, self.stop)


@dataclass
class Bucket:
    """Objects first added on the same frame.

    value: (O, rows, C_v). covers: (rows,) bool, the tokens for which the bucket has values.
    """

    value: Tensor
    covers: Tensor

    @property
    def objects(self) -> int:
        return self.value.shape[0]


Commit = Callable[[], None]
"""Writes results that were computed beforehand, so that a failure while computing them changes nothing."""

PER_TOKEN = ("key", "selection", "shrinkage", "use", "life")


class TokenStore:
    """Keys, usage counters, and the values of each bucket, in a long-term and a working region.

    Per row: key (C_k), shrinkage, selection (C_k, working memory only), use and life, all in the dtype of the keys;
    values have their own dtype.
    """

    def __init__(self, long_term: int, working: int, like: Tensor):
        """Allocate regions of these capacities in tokens; like: keys (..., C_k, h, w), for size, dtype and device."""
        key_dim = like.shape[-3]
        self.long_term = Region(0, long_term)
        self.working = Region(long_term, working)
        rows = long_term + working
        self.key = like.new_empty(rows, key_dim)
        self.selection = like.new_empty(rows, key_dim)
        self.shrinkage = like.new_empty(rows)
        self.use = like.new_zeros(rows)
        self.life = like.new_zeros(rows)
        self.buckets: list[Bucket] = []
        # Subtracted from keys and queries: this leaves distances unchanged and reduces cancellation errors.
        self._centre = like.new_zeros(key_dim)
        self._packed = like.new_empty(rows, 2 * key_dim + 1)  # `memory_columns` of `filled`, if valid
        self._packed_valid = False
        self._before_reading = self.use, self.life

    @property
    def objects(self) -> int:
        return sum(bucket.objects for bucket in self.buckets)

    @property
    def size(self) -> int:
        """Number of filled rows."""
        return self.long_term.size + self.working.size

    @property
    def filled(self) -> Tensor:
        """The filled rows, long-term memory first: (tokens,) int64."""
        regions = (self.long_term, self.working)
        return torch.cat([torch.arange(r.start, r.stop, device=self.key.device) for r in regions])

    def packed_keys(self) -> PackedKeys:
        """Return the keys of the filled rows for one read, in the order of `filled`."""
        if not self._packed_valid:
            rows = self.filled
            keys = self.key[rows]
            with full_precision(keys):
                self._centre = keys.detach().mean(0)
                self._packed[: self.size] = memory_columns(keys - self._centre, self.shrinkage[rows])
            self._packed_valid = True
        return PackedKeys(self._packed[: self.size], self._centre)

    def count_use(self, rows: Tensor, usage: Tensor) -> None:
        """Add the usage (n,) of one read to the counters of these rows."""
        self._before_reading = self.use.clone(), self.life.clone()
        self.use[rows] += usage
        self.life[rows] += 1

    def usage(self, rows: slice | Tensor) -> Tensor:
        """Return the use of these rows relative to the number of reads since they were added."""
        return self.use[rows] / self.life[rows]

    def undo_use(self) -> None:
        """Restore the counters from before the last read; tokens must not have moved since."""
        for now, before in zip((self.use, self.life), self._before_reading, strict=True):
            now[: before.numel()] = before

    def add_bucket(self, objects: int, value_dim: int, dtype: torch.dtype) -> None:
        """Allocate the values of `objects` more objects; the new bucket covers no token yet."""
        value = self.key.new_empty(objects, len(self.key), value_dim, dtype=dtype)
        self.buckets.append(Bucket(value, torch.zeros_like(self.use, dtype=torch.bool)))

    def append(self, region: Region, key: Tensor, shrinkage: Tensor, selection: Tensor | None = None) -> slice:
        """Append tokens to a region that has room for them and return their rows; no bucket covers them yet.

        key (n, C_k), shrinkage (n,), selection (n, C_k) or None for long-term memory.
        """
        rows = slice(region.stop, region.stop + key.shape[0])
        assert region.size + key.shape[0] <= region.capacity, "the caller makes room"
        self.key[rows], self.shrinkage[rows] = key, shrinkage
        if selection is not None:
            self.selection[rows] = selection
        self.use[rows], self.life[rows] = 0, 1e-7
        for bucket in self.buckets:
            bucket.covers[rows] = False
        region.size += key.shape[0]
        if self._packed_valid and region is self.working:
            self._packed[self.size - key.shape[0] : self.size] = memory_columns(key - self._centre, shrinkage)
        else:
            self._packed_valid = False
        return rows

    def write(self, bucket: Bucket, rows: slice | Tensor, value: Tensor) -> None:
        """Write a bucket's values (O, n, C_v) into filled rows."""
        bucket.value[:, rows] = value.to(bucket.value.dtype)
        bucket.covers[rows] = True

    def prepare_compaction(self, region: Region, kept: Tensor) -> Commit:
        """Prepare to move the tokens `kept` (indices within the region, ascending) to its front and drop the others."""
        source = kept + region.start
        target = slice(region.start, region.start + kept.numel())
        per_token = [(getattr(self, name), getattr(self, name)[source]) for name in PER_TOKEN]
        per_bucket = [(bucket, bucket.value[:, source], bucket.covers[source]) for bucket in self.buckets]

        def commit() -> None:
            self._packed_valid = False
            for x, moved in per_token:
                x[target] = moved
            for bucket, value, covers in per_bucket:
                bucket.value[:, target], bucket.covers[target] = value, covers
            region.size = kept.numel()

        return commit

    def grow_working(self, capacity: int) -> None:
        """Reallocate the buffers, so that working memory has room for `capacity` tokens."""
        extra = capacity - self.working.capacity
        # Allocate everything first, so that running out of memory changes nothing.
        longer = {name: _longer(getattr(self, name), extra, dim=0) for name in (*PER_TOKEN, "_packed")}
        buckets = [Bucket(_longer(b.value, extra, dim=1), _longer(b.covers, extra, dim=0)) for b in self.buckets]
        vars(self).update(longer, buckets=buckets)
        self.working.capacity = capacity

    def remove_object(self, bucket: Bucket, row: int) -> None:
        """Remove one object's values, and the bucket if it was its last object."""
        if bucket.objects == 1:
            self.buckets = [other for other in self.buckets if other is not bucket]
        else:
            bucket.value = torch.cat([bucket.value[:row], bucket.value[row + 1 :]])

    def exported(self) -> dict[str, Tensor]:
        """Return copies of all filled rows, by name."""
        rows = self.filled
        tensors = {name: getattr(self, name)[rows].clone() for name in PER_TOKEN}
        tensors["selection"][: self.long_term.size] = 0  # never written for long-term tokens
        tensors["sizes"] = torch.tensor([self.long_term.size, self.working.size])
        for number, bucket in enumerate(self.buckets):
            covers = bucket.covers[rows]
            tensors[f"value{number}"] = bucket.value[:, rows].masked_fill(~covers[:, None], 0)
            tensors[f"covers{number}"] = covers
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill an empty store with the tensors that another store `exported`.

        Raises:
            UsageError: There are more long-term tokens than this store has room for.
        """
        long_term, working = tensors["sizes"].tolist()
        if long_term > self.long_term.capacity:
            raise UsageError(
                f"the saved memory has {long_term} long-term tokens, here is room for {self.long_term.capacity}: use "
                "memory.long_term and memory.max_long_term_tokens as it was saved with"
            )
        if working > self.working.capacity:
            self.grow_working(working)
        self.long_term.size, self.working.size = long_term, working
        rows = self.filled
        for name in PER_TOKEN:
            getattr(self, name)[rows] = tensors[name].to(self.key)
        for number in range(sum(name.startswith("value") for name in tensors)):
            value = tensors[f"value{number}"].to(self.key.device)
            self.add_bucket(value.shape[0], value.shape[2], value.dtype)
            self.buckets[-1].value[:, rows] = value
            self.buckets[-1].covers[rows] = tensors[f"covers{number}"].to(self.key.device)
        self._packed_valid = False

    def detach(self) -> None:
        """Detach all stored tensors from the autograd graph, in place.

        With a detached copy, a reference cycle would never be freed: the graph refers to the values that were read, and
        these, written into later, to the graph.
        """
        for name in PER_TOKEN:
            getattr(self, name).detach_()
        self._before_reading = self.use, self.life
        self._packed.detach_()
        for bucket in self.buckets:
            bucket.value.detach_()


def _longer(x: Tensor, extra: int, dim: int) -> Tensor:
    return torch.cat([x, x.new_empty(*x.shape[:dim], extra, *x.shape[dim + 1 :])], dim)
