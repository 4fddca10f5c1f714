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
_CELL, _GAP, _TEXT, _HEADING = 168, 10, 48, 34


@dataclass(frozen=True)
class Frame:
    """One cell of a contact sheet: a frame, a word above all others of its row, and what stands below it."""

    id: str
    note: str
    colour: str


def draw_sheet(
    title: str, rows: Sequence[Sequence[Frame] | str], images: Mapping[str, Image.Image], path: Path
) -> None:
    """Write a PNG of `rows` of frames, or headings between them, as wide as the widest.

    images: the decoded frames by id, one that is missing leaves its cell dark.
    """
    large = ImageFont.load_default(17)
    texts = [title, *(row for row in rows if isinstance(row, str))]
    cells = max((len(row) for row in rows if not isinstance(row, str)), default=0)
    width = _GAP + max(cells * (_CELL + _GAP), *(int(large.getlength(text)) + _GAP for text in texts))
    heights = [_HEADING if isinstance(row, str) else _CELL + _TEXT + _GAP for row in rows]
    y = 44
    sheet = Image.new("RGB", (width, y + sum(heights) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 14), title, _INK, large)
    for row, height in zip(rows, heights, strict=True):
        if isinstance(row, str):
            draw.text((_GAP, y + 8), row, _INK, large)
        else:
            for c, frame in enumerate(row):
                _draw_frame(sheet, draw, (_GAP + c * (_CELL + _GAP), y), frame, images.get(frame.id))
        y += height
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
    draw.multiline_text((x, y + _CELL + 16), _in_two_lines(frame.id, font), FAINT, font, spacing=2)


def _in_two_lines(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The end of an id tells most: it stands in the second line, what goes before in the first, its beginning cut."""
    last = _end(text, font)
    before = text[: len(text) - len(last)]
    first = _end(before, font)
    while len(first) < len(before) and len(first) > 1 and font.getlength("…" + first) > _CELL:
        first = first[1:]
    return f"{'…' * (len(first) < len(before))}{first}\n{last}" if before else last


def _end(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of its end as fits the cell."""
    start = 0
    while font.getlength(text[start:]) > _CELL and len(text) - start > 1:
        start += 1
    return text[start:]
