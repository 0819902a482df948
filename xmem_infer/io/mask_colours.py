"""Masks painted in colours: which object id stands for which colour, the same in all masks of a video."""

import numpy as np
from PIL import ImageColor

from .palette import davis_palette, with_colours

GREY = 0x010101  # step from one packed shade of grey to the next
NAMES = {code: name for name, code in reversed(ImageColor.colormap.items()) if isinstance(code, str)}


class ColourIds:
    """The ids of the colours seen so far in a video's masks.

    A colour keeps its id. New ones take their label in the DAVIS palette where all of a mask's are of it, their value
    where all are grey, else the lowest free ids, colours with more red first, then green, then blue.

    Attributes:
        ids: By packed colour (red << 16 | green << 8 | blue); black is 0, the background.
        painted: Whether any was given out by `assign`.
    """

    def __init__(self) -> None:
        self.ids: dict[int, int] = {0: 0}
        self.painted = False

    def note(self, object_ids: list[int], palette: bytes | None) -> None:
        """Take in the ids of a mask that holds numbers, under the colours of its palette, or as shades of grey."""
        for object_id in object_ids:
            colour = palette[3 * object_id : 3 * object_id + 3] if palette else bytes([object_id] * 3)
            self.ids.setdefault(int.from_bytes(colour, "big"), object_id)

    def assign(self, colours: list[int]) -> list[int]:
        """Give ids to the colours that have none; returns those. Raises ValueError where 255 ids do not suffice."""
        new = sorted((colour for colour in colours if colour not in self.ids), reverse=True)
        if all(colour in _DAVIS_IDS for colour in colours):
            wanted = [_DAVIS_IDS[colour] for colour in new]
        elif all(colour % GREY == 0 for colour in colours):
            wanted = [colour & 255 for colour in new]
        else:
            wanted = [0] * len(new)
        for colour, object_id in zip(new, wanted, strict=True):
            taken = set(self.ids.values())
            if object_id in taken:
                object_id = next((free for free in range(1, 256) if free not in taken), 0)
            if object_id == 0:
                raise ValueError(f"{len(self.ids)} colours are more than the 255 objects that are possible")
            self.ids[colour] = object_id
        self.painted |= bool(new)
        return new

    def lookup(self, packed: np.ndarray) -> np.ndarray:
        """(H, W) packed colours, all of them known, as (H, W) uint8 ids."""
        colours, where = np.unique(packed, return_inverse=True)
        ids = np.array([self.ids[colour] for colour in colours.tolist()], np.uint8)
        return ids[where].reshape(packed.shape)

    def palette(self) -> bytes:
        """768 bytes of RGB: each id in its colour, the others in DAVIS's."""
        # not of a number painted as a shade of grey, which is mostly too dark to be seen
        seen = {one: colour.to_bytes(3, "big") for colour, one in self.ids.items() if colour != one * GREY}
        return with_colours(None, seen)

    def describe(self, colours: list[int]) -> str:
        """What became what: 'red -> 1, blue -> 2'."""
        ordered = sorted(colours, key=lambda colour: self.ids[colour])
        return ", ".join(f"{colour_name(colour)} -> {self.ids[colour]}" for colour in ordered)


def colour_name(colour: int) -> str:
    """What people call a packed colour, where it has a name in HTML, else its code (#fa3253)."""
    code = f"#{colour:06x}"
    return NAMES.get(code, code)


def pack(colours: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 RGB as one integer each."""
    wide = colours.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


_DAVIS = pack(np.frombuffer(davis_palette(), np.uint8).reshape(256, 3))
_DAVIS_IDS = {colour: label for label, colour in enumerate(_DAVIS.tolist())}
