"""Contact sheets: frames in rows, each with a word on why it is shown."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps
from PIL.ImageFont import FreeTypeFont, truetype

from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.reading import printable

COLUMNS = 7
KEPT, GONE, FAINT = "#1a7f4b", "#b3261e", "#6b7885"
_INK, _PAPER = "#1b2733", "#ffffff"
_CELL, _GAP, _LINE, _HEADING = 168, 10, 15, 34


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
    texts = [title, *(row for row in rows if isinstance(row, str))]
    below = (frame.note + _composed(frame.id) for row in rows if not isinstance(row, str) for frame in row)
    font = _font_for("".join((*texts, *below)))
    large, small = truetype(font, 16), truetype(font, 11)
    cells = max((len(row) for row in rows if not isinstance(row, str)), default=0)
    width = _GAP + max(cells * (_CELL + _GAP), *(int(large.getlength(text)) + _GAP for text in texts))
    heights = [_HEADING if isinstance(row, str) else _height(row, small) for row in rows]
    y = 44
    sheet = Image.new("RGB", (width, y + sum(heights) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 14), title, _INK, large)
    for row, height in zip(rows, heights, strict=True):
        if isinstance(row, str):
            draw.text((_GAP, y + 8), row, _INK, large)
        else:
            for c, frame in enumerate(row):
                _draw_frame(sheet, draw, (_GAP + c * (_CELL + _GAP), y), frame, images.get(frame.id), small)
        y += height
    with whole_file(path) as aside:
        sheet.save(aside, "PNG")


def _composed(id: str) -> str:
    return printable(unicodedata.normalize("NFC", id))


def _font_for(text: str) -> str:
    """The font that matplotlib carries, which has European letters where Pillow's own has English ones alone; where it
    lacks a letter, one of this machine that has all, such as a Chinese one, if there is any."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    carried = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    wanted = {ord(letter) for letter in set(text) if letter.isprintable()}
    if wanted <= FT2Font(carried).get_charmap().keys():
        return carried
    from matplotlib.font_manager import findSystemFonts  # not above: it goes through the machine's fonts

    for path in sorted(findSystemFonts()):
        with suppress(RuntimeError, OSError):  # a file that is no font
            if wanted <= FT2Font(path).get_charmap().keys():
                return path
    return carried


def _draw_frame(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    frame: Frame,
    image: Image.Image | None,
    font: FreeTypeFont,
) -> None:
    x, y = at
    box = (x, y, x + _CELL - 1, y + _CELL - 1)
    draw.rectangle(box, fill="#10161c")
    if image is not None:
        scaled = ImageOps.contain(image, (_CELL, _CELL))
        sheet.paste(scaled, (x + (_CELL - scaled.width) // 2, y + (_CELL - scaled.height) // 2))
    draw.rectangle(box, outline=frame.colour, width=4 if frame.colour == KEPT else 1)
    for number, (line, colour) in enumerate(_lines(frame, font)):
        draw.text((x, y + _CELL + 2 + number * _LINE), line, colour, font)


def _height(row: Sequence[Frame], font: FreeTypeFont) -> int:
    return _CELL + _GAP + _LINE * (1 + max((len(_lines(frame, font)) for frame in row), default=0))


def _lines(frame: Frame, font: FreeTypeFont) -> list[tuple[str, str]]:
    """What stands below a frame, and in which colour: its note, then its whole id."""
    both = ((frame.note, frame.colour), (_composed(frame.id), FAINT))
    return [(line, colour) for text, colour in both for line in in_lines(text, lambda it: font.getlength(it) <= _CELL)]


def in_lines(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The whole of a text in lines that fit, broken after a "/", "_", "-", "." or " " of a line's second half."""
    lines = []
    while (end := _fitting(text, fits)) < len(text):
        breaks = [place for place in range(end // 2, end) if text[place] in "/_-. "]
        end = breaks[-1] + 1 if breaks else end
        lines.append(text[:end])
        text = text[end:]
    return [*lines, text]


def _fitting(text: str, fits: Callable[[str], bool]) -> int:
    """Letters of the longest beginning that fits, one at least; no more than twice as many are laid out."""
    low, high = 1, 2
    while high <= len(text) and fits(text[:high]):
        low, high = high, 2 * high
    high = min(high, len(text) + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(text[:middle]) else (low, middle)
    return min(low, len(text))
