"""Which objects a given mask speaks for: id in the image <-> slot in the tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.masks import one_hot


@dataclass(frozen=True)
class GivenMask:
    """A mask as taken: masks (O, H, W), one channel per known object, empty where not `taken` (per slot)."""

    masks: Tensor
    taken: tuple[bool, ...]

    @property
    def every_object(self) -> bool:
        """Whether it labels every object, so that nothing is left to predict."""
        return all(self.taken)


def ids_to_take(known: list[int], present: list[int]) -> list[int]:
    """The object ids a mask speaks for, told by those `present` in it (0 is none).

    A mask with any known id is a correction and speaks for every object, also those it does not show. One with new
    ids alone adds these and leaves the rest to prediction. An empty one says nothing.
    """
    shown = [value for value in present if value != 0]
    if not any(value in known for value in shown):
        return shown
    return [*known, *(value for value in shown if value not in known)]


def take_mask(known: list[int], mask: Tensor, object_ids: list[int]) -> tuple[list[int], GivenMask | None]:
    """Read a label image (H, W), 0 = background: the known ids (new ones at the end) and what it gives.

    object_ids: those it speaks for, known or new; others in the image are ignored.
    """
    if not object_ids:
        return known, None
    known = known + [value for value in object_ids if value not in known]
    taken = tuple(value in object_ids for value in known)
    masks = one_hot(mask, known) * torch.tensor(taken, device=mask.device)[:, None, None]
    return known, GivenMask(masks, taken)
