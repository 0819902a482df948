"""Object ids for masks painted in colours, consistent over all masks of a video."""

import numpy as np
from PIL import ImageColor

from .palette import davis_palette, with_colours

GREY = 0x010101  # step from one packed shade of grey to the next
NAMES = {code: name for name, code in reversed(ImageColor.colormap.items()) if isinstance(code, str)}


class ColourIds:
    """Mapping from the colours seen so far in a video's masks to object ids.

    A colour never changes its id. If all colours of a mask belong to the DAVIS palette, new colours get their index
    in it; if all are grey, their grey value; otherwise the lowest free ids, in descending order of red, then green,
    then blue.
    """

    def __init__(self) -> None:
        self.ids: dict[int, int] = {0: 0}  # by packed colour, see `pack`; black is the background
        self.painted = False  # whether `assign` has assigned any id

    def note(self, object_ids: list[int], palette: bytes | None) -> None:
        """Register the ids of a palette or greyscale mask under their palette colours or grey values."""
        for object_id in object_ids:
            colour = palette[3 * object_id : 3 * object_id + 3] if palette else bytes([object_id] * 3)
            self.ids.setdefault(int.from_bytes(colour, "big"), object_id)

    def assign(self, colours: list[int]) -> list[int]:
        """Assign ids to new colours and return these colours. Raises ValueError if there are more than 255 objects."""
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
        """Convert (H, W) packed colours, all of which have an id, to (H, W) uint8 object ids."""
        colours, inverse = np.unique(packed, return_inverse=True)
        ids = np.array([self.ids[colour] for colour in colours.tolist()], np.uint8)
        return ids[inverse].reshape(packed.shape)

    def palette(self) -> bytes:
        """Return a palette of 768 bytes (RGB) with the colour of each id, and DAVIS colours for unused ids."""
        # Ids painted as their own grey value keep the DAVIS colour, because most such greys are too dark to see.
        colours = {id_: colour.to_bytes(3, "big") for colour, id_ in self.ids.items() if colour != id_ * GREY}
        return with_colours(None, colours)

    def describe(self, colours: list[int]) -> str:
        """Describe the ids of these colours, for example "red -> 1, blue -> 2"."""
        ordered = sorted(colours, key=lambda colour: self.ids[colour])
        return ", ".join(f"{colour_name(colour)} -> {self.ids[colour]}" for colour in ordered)


def colour_name(colour: int) -> str:
    """Return the HTML name of a packed colour, or its code (#fa3253) if it has no name."""
    code = f"#{colour:06x}"
    return NAMES.get(code, code)


def pack(colours: np.ndarray) -> np.ndarray:
    """Pack (..., 3) uint8 RGB into one int64 per pixel: red << 16 | green << 8 | blue."""
    wide = colours.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


_DAVIS = pack(np.frombuffer(davis_palette(), np.uint8).reshape(256, 3))
_DAVIS_IDS = {colour: label for label, colour in enumerate(_DAVIS.tolist())}
