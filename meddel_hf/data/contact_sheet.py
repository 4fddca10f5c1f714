"""Contact sheets: frames in rows, each with a word on why it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from meddel_hf.runtime.files import whole_file

COLUMNS = 7
KEPT, GONE, FAINT = "#1a7f4b", "#b3261e", "#6b7885"
_INK, _PAPER = "#1b2733", "#ffffff"
_CELL, _GAP, _TEXT = 168, 10, 34


@dataclass(frozen=True)
class Frame:
    """One cell of a contact sheet: a frame, a word above all others of its row, and what stands below it."""

    id: str
    note: str
    colour: str


def draw_sheet(title: str, rows: Sequence[Sequence[Frame]], images: Mapping[str, Image.Image], path: Path) -> None:
    """Write a PNG of `rows` of frames; images: the decoded frames by id, one that is missing leaves its cell dark."""
    width = _GAP + COLUMNS * (_CELL + _GAP)
    top, height = 44, _CELL + _TEXT + _GAP
    sheet = Image.new("RGB", (width, top + len(rows) * height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 14), title, _INK, ImageFont.load_default(17))
    for r, row in enumerate(rows):
        for c, frame in enumerate(row):
            x, y = _GAP + c * (_CELL + _GAP), top + r * height
            _draw_frame(sheet, draw, (x, y), frame, images.get(frame.id))
    with whole_file(path) as aside:
        sheet.save(aside, "PNG")


def _draw_frame(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], frame: Frame, image: Image.Image | None
) -> None:
    x, y = at
    box = (x, y, x + _CELL - 1, y + _CELL - 1)
    draw.rectangle(box, fill="#10161c")
    if image is not None:
        small = ImageOps.contain(image, (_CELL, _CELL))
        sheet.paste(small, (x + (_CELL - small.width) // 2, y + (_CELL - small.height) // 2))
    draw.rectangle(box, outline=frame.colour, width=4 if frame.colour == KEPT else 1)
    font = ImageFont.load_default(12)
    draw.text((x, y + _CELL + 2), frame.note, frame.colour, font)
    draw.text((x, y + _CELL + 16), _shortened(frame.id, font), FAINT, font)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The end of an id tells most: cut its beginning until it fits the cell."""
    short = text
    while font.getlength(short) > _CELL and len(short) > 4:
        short = "…" + short.lstrip("…")[1:]
    return short
