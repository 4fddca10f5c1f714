"""What results show of themselves in a notebook: tables, and frames no larger than a thumbnail; all text is escaped."""

from __future__ import annotations

import base64
import glob
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from meddel_hf.data.contact_sheet import FAINT, GONE, KEPT
from meddel_hf.data.images import decode
from meddel_hf.data.scan import IMAGE_SUFFIXES
from meddel_hf.errors import UnreadableImage
from meddel_hf.runtime.reading import printable
from meddel_hf.runtime.spacing import evenly_spaced

SIDE = 96  # pixels of a thumbnail, at most
PAIRS = 4  # that are shown
_LINE = "1px solid rgba(128,128,128,.35)"


@dataclass(frozen=True)
class Cell:
    """A frame: its picture, None where it is not at hand; what it is; its id; and the colour of both."""

    picture: Image.Image | None
    note: str
    id: str
    colour: str


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Names on the left, numbers on the right; without heads where all of them are empty."""

    def line(cells: Sequence[str], tag: str) -> str:
        aligned = zip(cells, ("left", *["right"] * (len(cells) - 1)), strict=True)
        style = f"padding:2px 12px 2px 0;border-bottom:{_LINE};font-variant-numeric:tabular-nums"
        return "".join(f'<{tag} style="text-align:{side};{style}">{escape(text)}</{tag}>' for text, side in aligned)

    top = f"<tr>{line(heads, 'th')}</tr>" if any(heads) else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f'<table style="border-collapse:collapse;margin:4px 0">{top}{body}</table>'


def strip(title: str, cells: Sequence[Cell]) -> str:
    """Frames beside one another, each with its note and id below; nothing where there are none."""
    if not cells:
        return ""
    shown = "".join(_figure(cell) for cell in cells)
    return (
        f'<div style="margin:8px 0 2px;font-weight:600">{escape(title)}</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:8px">{shown}</div>'
    )


def of_folder(folder: Path, kept: Sequence[str], pairs: Sequence[tuple[str, str, float]]) -> str:
    """Some kept frames, and pairs of near-duplicates, of a folder of images; nothing where none of them is there.

    pairs: (id of the frame that stands for the other, the other's id, their cosine).
    """
    some = [kept[place] for place in evenly_spaced(len(kept), 2 * PAIRS)]
    stays = [Cell(picture_below(folder, id), "kept", id, KEPT) for id in some]
    goes: list[Cell] = []
    for first, other, cosine in pairs:
        goes.append(Cell(picture_below(folder, first), "stands for", first, FAINT))
        goes.append(Cell(picture_below(folder, other), f"cosine {cosine:.4f}", other, GONE))
    if not any(cell.picture for cell in (*stays, *goes)):
        return ""
    title = "Near-duplicates nearest to the threshold, each after the frame that stands for it"
    return strip("Some of the kept frames", stays) + strip(title, goes)


def of_rows(cells: Sequence[tuple[str, Any]]) -> str:
    """Some kept frames of a data set: (id, cell)."""
    return strip("Some of them", [Cell(picture_of(cell), "kept", id, KEPT) for id, cell in cells])


def picture_of(cell: Any) -> Image.Image | None:
    """A data set's cell, decoded; None where that cannot be done."""
    try:
        return decode(cell)
    except UnreadableImage:
        return None


def picture_below(folder: Path, id: str) -> Image.Image | None:
    """The picture of a folder of images whose path without suffix an id is; None where there is none."""
    place = Path(folder, id)
    if not place.is_relative_to(folder) or ".." in place.parts or "\0" in id:
        return None
    for file in sorted(place.parent.glob(f"{glob.escape(place.name)}.*")):
        if file.suffix.lower() in IMAGE_SUFFIXES and file.with_suffix("") == place and file.is_file():
            return picture_of(str(file))
    return None


def _figure(cell: Cell) -> str:
    width, frame = SIDE + 4, f"width:{SIDE}px;height:{SIDE}px;border:2px solid {cell.colour};background:#10161c"
    name = escape(printable(cell.id), quote=True)
    inside = ""
    if cell.picture is not None:
        inside = f'<img src="{_as_data(cell.picture)}" alt="{name}" style="display:block;margin:auto">'
    return (
        f'<figure style="margin:0;width:{width}px;font-size:11px;line-height:1.25;overflow-wrap:anywhere">'
        f'<div style="{frame};display:flex;align-items:center">{inside}</div>'
        f'<figcaption><span style="color:{cell.colour}">{escape(cell.note)}</span><br>'
        f'<span style="color:{FAINT}">{name}</span></figcaption></figure>'
    )


def _as_data(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
