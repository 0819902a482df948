"""`late_objects: published`: how the published code pairs the values of late objects with keys.

It keeps a list of values per bucket and, on reading, pairs them with the *last* keys of each region,
whichever those are. The paper's YouTube-VOS figures contain this fault, so it can be reproduced.
"""

import torch
from torch import Tensor

from .consolidation import exchange, potentiate, prototypes
from .store import Bucket, Change, Region, TokenStore


def consolidation_as_published(
    store: TokenStore,
    candidates: Tensor,
    num_prototypes: int,
    stay: Tensor | None,
    working: Tensor,
    frame_tokens: int,
    min_frames: int,
) -> Change:
    """As `consolidation`, late values paired as published.

    A late bucket consolidates only if its working values cover more than min_frames + 1 frames, and never
    its first frame. At exactly min_frames + 1 frames its second frame is dropped without being consolidated.
    """
    chosen, scores, shrinkage = prototypes(store, candidates, num_prototypes)
    key = store.key[candidates[chosen]]
    recent = (min_frames - 1) * frame_tokens
    lists = []
    for bucket in store.buckets:
        long_term, value = _values(store, bucket, store.long_term, stay), _values(store, bucket, store.working, None)
        size = value.shape[1]
        late = size < store.working.size
        if not late or size > (min_frames + 1) * frame_tokens:
            own = value[:, frame_tokens : size - recent]
            first = candidates.numel() - own.shape[1]  # its values belong to the last candidates
            valid = chosen >= first
            long_term = torch.cat([long_term, potentiate(scores[valid][:, first:], own).to(own.dtype)], 1)
        if size >= (min_frames + 1) * frame_tokens:
            value = torch.cat([value[:, :frame_tokens], value[:, size - recent :]], 1)
        lists.append((bucket, long_term, value))

    def write_values() -> None:
        for bucket, long_term, value in lists:
            _pair_with_last(store, bucket, store.long_term, long_term)
            _pair_with_last(store, bucket, store.working, value)

    return exchange(store, key, shrinkage, stay, working, write_values)


def _values(store: TokenStore, bucket: Bucket, region: Region, stay: Tensor | None) -> Tensor:
    rows = torch.arange(region.start, region.stop, device=bucket.covers.device)
    rows = rows if stay is None else rows[stay]
    return bucket.value[:, rows[bucket.covers[rows]]]


def _pair_with_last(store: TokenStore, bucket: Bucket, region: Region, value: Tensor) -> None:
    bucket.covers[region.start : region.stop] = False
    store.write(bucket, slice(region.stop - value.shape[1], region.stop), value)
