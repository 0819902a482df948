"""`late_objects: published`: pair the values of late objects with keys as the published code does.

The published code keeps a list of values per bucket and, on reading, pairs them with the *last* keys of each region,
whether or not these belong to the values. The paper's YouTube-VOS figures contain this fault, hence this option.
"""

import torch
from torch import Tensor

from .consolidation import potentiate, prepare_exchange, prototypes
from .store import Bucket, Commit, Region, TokenStore


def prepare_published_consolidation(
    store: TokenStore,
    candidates: Tensor,
    num_prototypes: int,
    long_term: Tensor | None,
    working: Tensor,
    frame_tokens: int,
    min_frames: int,
) -> Commit:
    """Prepare a consolidation like `prepare_consolidation`, but with late values paired as published.

    A late bucket consolidates only if its working values cover more than min_frames + 1 frames, and never its first
    frame. At exactly min_frames + 1 frames its second frame is dropped without being consolidated.
    """
    chosen, scores, shrinkage = prototypes(store, candidates, num_prototypes)
    key = store.key[candidates[chosen]]
    recent = (min_frames - 1) * frame_tokens
    lists = []
    for bucket in store.buckets:
        long_term_value = _values(store, bucket, store.long_term, long_term)
        working_value = _values(store, bucket, store.working, None)
        size = working_value.shape[1]
        late = size < store.working.size
        if not late or size > (min_frames + 1) * frame_tokens:
            own = working_value[:, frame_tokens : size - recent]
            first = candidates.numel() - own.shape[1]  # a late bucket has values for the last candidates only
            valid = chosen >= first
            long_term_value = torch.cat([long_term_value, potentiate(scores[valid][:, first:], own).to(own.dtype)], 1)
        if size >= (min_frames + 1) * frame_tokens:
            working_value = torch.cat([working_value[:, :frame_tokens], working_value[:, size - recent :]], 1)
        lists.append((bucket, long_term_value, working_value))

    def write_values() -> None:
        for bucket, long_term_value, working_value in lists:
            _pair_with_last(store, bucket, store.long_term, long_term_value)
            _pair_with_last(store, bucket, store.working, working_value)

    return prepare_exchange(store, key, shrinkage, long_term, working, write_values)


def _values(store: TokenStore, bucket: Bucket, region: Region, kept: Tensor | None) -> Tensor:
    """Return the bucket's values in a region, (O, n, C_v), for the tokens at the indices `kept` (None: all)."""
    rows = torch.arange(region.start, region.stop, device=bucket.covers.device)
    rows = rows if kept is None else rows[kept]
    return bucket.value[:, rows[bucket.covers[rows]]]


def _pair_with_last(store: TokenStore, bucket: Bucket, region: Region, value: Tensor) -> None:
    bucket.covers[region.start : region.stop] = False
    store.write(bucket, slice(region.stop - value.shape[1], region.stop), value)
