"""Draw a contact sheet: rows of captioned pictures below a title and a legend of object ids."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SHEET_PX = 1600  # width of a row of pictures
MAX_PICTURE_PX = 900  # maximum height of a picture
MAX_LEGEND = 40  # objects in the legend; of further ones only the number is given
MARGIN, GAP, CAPTION, LEGEND, CHIP = 28, 16, 30, 34, 84  # px
BACKGROUND, TEXT, FAINT, ACCENT, ALARM = "#14171c", "#f2f4f7", "#98a2b3", "#ffb020", "#ff7a70"


class Cell(NamedTuple):
    """A picture (H, W, 3) uint8 RGB with a caption below on the left and a coloured note below on the right."""

    picture: np.ndarray
    caption: str
    note: str = ""
    framed: bool = False  # in the colour of the note, which is then no alarm


def columns(width: int, height: int) -> int:
    """Return the number of pictures per row for frames of this size; fewer for wide frames."""
    return 3 if width > 2.2 * height else 4 if width >= height else 6


def picture_scale(width: int, height: int) -> float:
    """Return the factor by which frames of width x height px are scaled for a sheet."""
    across = columns(width, height)
    return min((SHEET_PX - (across - 1) * GAP) // across / width, MAX_PICTURE_PX / height)


def contact_sheet(
    cells: Sequence[Cell], title: str, subtitle: str, legend: Mapping[int, tuple[int, int, int]]
) -> Image.Image:
    """Draw a contact sheet of pictures of equal size; legend: RGB colour by object id."""
    height, width = cells[0].picture.shape[:2]
    across = min(columns(width, height), len(cells))
    rows = -(-len(cells) // across)
    total = max(across * width + (across - 1) * GAP, 560)
    entries: list[tuple[str, str | tuple[int, int, int]]] = [
        (str(label), colour) for label, colour in list(legend.items())[:MAX_LEGEND]
    ]
    if len(legend) > MAX_LEGEND:
        entries.append((f"and {len(legend) - MAX_LEGEND} more", BACKGROUND))
    per_row = total // CHIP
    top = MARGIN + 84 + LEGEND * -(-len(entries) // per_row)
    size = (total + 2 * MARGIN, top + rows * (height + CAPTION + GAP) + MARGIN - GAP)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 6), fitted(draw, title, total, 32), TEXT, font(32))
    draw.text((MARGIN, MARGIN + 40), fitted(draw, subtitle, total, 18), FAINT, font(18))
    for i, (text, colour) in enumerate(entries):
        x, y = MARGIN + i % per_row * CHIP, MARGIN + 76 + i // per_row * LEGEND
        draw.rounded_rectangle((x, y, x + 22, y + 22), 5, fill=colour)
        draw.text((x + 30, y), text, TEXT, font(18))
    for i, cell in enumerate(cells):
        x, y = MARGIN + i % across * (width + GAP), top + i // across * (height + CAPTION + GAP)
        draw_cell(sheet, draw, cell, x, y)
    return sheet


def draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, x: int, y: int) -> None:
    """Draw a picture with its top left corner at (x, y), its caption and note below it."""
    height, width = cell.picture.shape[:2]
    sheet.paste(Image.fromarray(cell.picture), (x, y))
    if cell.framed:
        draw.rectangle((x - 4, y - 4, x + width + 3, y + height + 3), outline=ACCENT, width=3)
    note = fitted(draw, cell.note, width // 2, 17)
    note_px = draw.textlength(note, font(17))
    draw.text((x + width - note_px, y + height + 6), note, ACCENT if cell.framed else ALARM, font(17))
    caption = fitted(draw, cell.caption, int(width - note_px - 10), 17)
    draw.text((x, y + height + 6), caption, FAINT, font(17))


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return DejaVu Sans if it is installed, since it covers more scripts, else Pillow's built-in font."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def fitted(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    """Shorten `text` to `width` px with an ellipsis at its start, because frame names differ at their ends."""
    # File names may contain line breaks and undecodable bytes, which cannot be drawn.
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if draw.textlength(text, font(size)) <= width:
        return text
    while text and draw.textlength("…" + text, font(size)) > width:
        text = text[1:]
    return "…" + text if text else ""
