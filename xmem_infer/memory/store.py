"""Token storage: two regions of one set of buffers, allocated once.

A row is a token. Long-term memory fills the rows from 0, working memory those from its own start; what lies
between is unused. A value stands in the row of its own key, so late objects cannot meet another's key.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import UsageError
from ..ops.affinity import PackedKeys, full_precision, memory_columns


@dataclass
class Region:
    """A run of rows: [start, start + size) are filled, up to start + capacity may be."""

    start: int
    capacity: int
    size: int = 0

    @property
    def stop(self) -> int:
        return self.start + self.size


@dataclass
class Bucket:
    """Objects born on one frame: value (O, rows, C_v); covers (rows,) bool marks tokens they have a value for."""

    value: Tensor
    covers: Tensor

    @property
    def objects(self) -> int:
        return self.value.shape[0]


Change = Callable[[], None]
"""What was worked out and waits to be written, in place: where the working out fails, nothing has changed."""

PER_TOKEN = ("key", "selection", "shrinkage", "use", "life")


class TokenStore:
    """Keys with their statistics, and the values of each bucket, over a long-term and a working region.

    Per row: key (C_k), shrinkage, selection (C_k, working memory only), use, life, all in `like`'s dtype; values
    in their own. What reading multiplies queries with (`memory_columns`) is kept apart, without the unused rows.
    """

    def __init__(self, long_term: int, working: int, like: Tensor):
        """Capacities in tokens; like: a tensor (..., C_k, h, w) of keys."""
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
        # Subtracted from keys and queries: distances stay, and products of smaller numbers cancel with smaller errors.
        self._centre = like.new_zeros(key_dim)
        self._packed = like.new_zeros(rows, 2 * key_dim + 1)  # all of it is multiplied
        self._before_reading = self.use, self.life
        self._packed_valid = False  # whether the first rows of _packed are the tokens of `filled`

    @property
    def filled(self) -> Tensor:
        """Rows in use, long-term memory first: (tokens,) int64."""
        regions = (self.long_term, self.working)
        return torch.cat([torch.arange(r.start, r.stop, device=self.key.device) for r in regions])

    def packed_keys(self) -> PackedKeys:
        """For one reading: the tokens in use, in the order of `filled`."""
        tokens = self.long_term.size + self.working.size
        if not self._packed_valid:
            rows = self.filled
            keys = self.key[rows]
            with full_precision(keys):
                self._centre = keys.detach().mean(0)
                self._packed[:tokens] = memory_columns(keys - self._centre, self.shrinkage[rows])
            self._packed_valid = True
        return PackedKeys(self._packed, self._centre, tokens)

    def count_use(self, rows: Tensor, usage: Tensor) -> None:
        """Count a reading of these rows by its usage (n,)."""
        self._before_reading = self.use.clone(), self.life.clone()
        self.use[rows] += usage
        self.life[rows] += 1

    def undo_use(self) -> None:
        """Take the last reading out of the statistics; rows must be as they were then."""
        for now, before in zip((self.use, self.life), self._before_reading, strict=True):
            now[: before.numel()] = before

    def add_bucket(self, objects: int, value_dim: int, dtype: torch.dtype) -> None:
        """Room for the values of `objects` more objects, covering no token yet."""
        rows = self.key.shape[0]
        value = self.key.new_empty(objects, rows, value_dim, dtype=dtype)
        self.buckets.append(Bucket(value, torch.zeros(rows, dtype=torch.bool, device=self.key.device)))

    def append(self, region: Region, key: Tensor, shrinkage: Tensor, selection: Tensor | None = None) -> slice:
        """Add tokens to a region: key (n, C_k), shrinkage (n,), selection (n, C_k). Returns their rows.

        No bucket covers them yet; statistics start anew. A region that is full is a fault of the caller.
        """
        rows = slice(region.stop, region.stop + key.shape[0])
        if region.size + key.shape[0] > region.capacity:
            raise IndexError(f"memory region of {region.capacity} tokens cannot take {key.shape[0]} more")
        self.key[rows], self.shrinkage[rows] = key, shrinkage
        if selection is not None:
            self.selection[rows] = selection
        self.use[rows], self.life[rows] = 0, 1e-7
        for bucket in self.buckets:
            bucket.covers[rows] = False
        region.size += key.shape[0]
        if self._packed_valid and region is self.working:
            tokens = self.long_term.size + self.working.size
            self._packed[tokens - key.shape[0] : tokens] = memory_columns(key - self._centre, shrinkage)
        else:
            self._packed_valid = False
        return rows

    def write(self, bucket: Bucket, rows: slice | Tensor, value: Tensor) -> None:
        """Set a bucket's values (O, n, C_v) for rows that hold tokens."""
        bucket.value[:, rows] = value.to(bucket.value.dtype)
        bucket.covers[rows] = True

    def keeping(self, region: Region, kept: Tensor) -> Change:
        """Reduces a region to the tokens `kept` (indices within it, ascending), moved to its front."""
        source = kept + region.start
        target = slice(region.start, region.start + kept.numel())
        per_token = [(getattr(self, name), getattr(self, name)[source]) for name in PER_TOKEN]
        per_bucket = [(bucket, bucket.value[:, source], bucket.covers[source]) for bucket in self.buckets]

        def change() -> None:
            self._packed_valid = False
            for x, moved in per_token:
                x[target] = moved
            for bucket, value, covers in per_bucket:
                bucket.value[:, target], bucket.covers[target] = value, covers
            region.size = kept.numel()

        return change

    def grow_working(self, capacity: int) -> None:
        """Move to larger buffers, so that working memory holds `capacity` tokens."""
        extra = capacity - self.working.capacity
        # All of it first: where there is no room, nothing has changed.
        longer = {name: _longer(getattr(self, name), extra, dim=0) for name in (*PER_TOKEN, "_packed")}
        values = [(_longer(b.value, extra, dim=1), _longer(b.covers, extra, dim=0)) for b in self.buckets]
        vars(self).update(longer)
        for bucket, (value, covers) in zip(self.buckets, values, strict=True):
            bucket.value, bucket.covers = value, covers
        self.working.capacity = capacity

    def remove_object(self, bucket: Bucket, row: int) -> None:
        """Forget one object's values; a bucket without objects goes."""
        if bucket.objects == 1:
            self.buckets = [other for other in self.buckets if other is not bucket]
        else:
            bucket.value = torch.cat([bucket.value[:row], bucket.value[row + 1 :]])

    def exported(self) -> dict[str, Tensor]:
        """Copies of all that is filled, by name."""
        rows = self.filled
        found = {name: getattr(self, name)[rows].clone() for name in PER_TOKEN}
        found["selection"][: self.long_term.size] = 0  # long-term tokens have none
        found["sizes"] = torch.tensor([self.long_term.size, self.working.size])
        for number, bucket in enumerate(self.buckets):
            covers = bucket.covers[rows]
            found[f"value{number}"] = bucket.value[:, rows].masked_fill(~covers[:, None], 0)
            found[f"covers{number}"] = covers
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill an empty store with what another one `exported`. Raises UsageError where there is no room."""
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
        """Cut the autograd graph behind every stored number.

        In place: a value is written into the very tensor that the frame has read before, so the graph and
        the tensor hold each other, and a detached copy would leave that ring in memory for ever.
        """
        for name in PER_TOKEN:
            getattr(self, name).detach_()
        self._before_reading = self.use, self.life
        self._packed.detach_()
        for bucket in self.buckets:
            bucket.value.detach_()


def _longer(x: Tensor, extra: int, dim: Literal[0, 1]) -> Tensor:
    shape = list(x.shape)
    shape[dim] = extra
    return torch.cat([x, x.new_empty(shape)], dim)
