"""Pictures of a selection: the retention curve, the largest groups of near-duplicates, the outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont, ImageOps

from meddel_hf import schema
from meddel_hf.files import whole_file
from meddel_hf.images import UnreadableImage, decode

if TYPE_CHECKING:
    from datasets import Dataset

    from meddel_hf.selection import Selection

_CELL, _GAP, _TEXT = 168, 10, 34
_INK, _PAPER, _KEPT, _GONE, _FAINT = "#1b2733", "#ffffff", "#1a7f4b", "#b3261e", "#6b7885"
_ROWS, _COLUMNS = 8, 7
_CURVE_POINTS = 9
_PERCENT = (0.1, 1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Frame:
    """One cell of a contact sheet: a frame, a word above all others of its row, and what stands below it."""

    id: str
    note: str
    colour: str


def draw_retention(selection: Selection, path: Path) -> None:
    """Share of the pool that stays over eta: a sampled estimate, exact points of the stored graph, this selection."""
    from matplotlib.figure import Figure

    s = selection.summary
    floor = max(0.05, min(100 * s.retention, 5) / 2)  # per cent, where the vertical axis begins
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    if selection.density is not None:
        edges = np.linspace(-1, 1, len(selection.density.stay))
        estimate = selection.density.stay / s.pool
        axes.plot(edges, estimate * 100, color=_FAINT, linestyle="--", linewidth=1.2, label="estimate from 256 rows")
        visible = edges[estimate * 100 > floor]
        axes.set_xlim(max(-1, min(visible[0], 0.95 if s.eta is None else s.eta) - 0.05), 1.005)
    if selection.graph is not None and selection.graph.floor < 0.99:
        etas = [float(eta) for eta in np.linspace(selection.graph.floor, 0.99, _CURVE_POINTS)]
        kept = [selection.at(eta=eta).retention * 100 for eta in etas]
        if s.eta is not None and s.eta < etas[0]:
            etas, kept = [s.eta, *etas], [s.retention * 100, *kept]
        axes.plot(etas, kept, color="#2a5caa", marker="o", markersize=3.5, label="exact, from the stored graph")
    if s.eta is not None:
        axes.plot(
            [s.eta], [s.retention * 100], "o", color=_KEPT, markersize=9, label=f"this selection, {s.retention:.1%}"
        )
    axes.set_yscale("log")
    axes.set_yticks(_PERCENT, [f"{percent:g} %" for percent in _PERCENT])
    axes.minorticks_off()
    axes.set_ylim(floor, 115)
    axes.set_xlabel("eta: cosine above which two frames are near-duplicates")
    axes.set_ylabel("share of the pool that stays")
    axes.set_title(f"{s.kept:,} of {s.pool:,} frames stay", loc="left")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    with whole_file(path) as aside:
        figure.savefig(aside, format="png")


def draw_duplicates(selection: Selection, pool: Dataset, path: Path) -> bool:
    """Contact sheet of the largest groups, kept frame first, then dropped ones from most to least alike.

    pool: the data set with columns id and image. Returns False, and draws nothing, where there are no near-duplicates.
    """
    gone = selection.table.filter(pc.equal(selection.table[schema.REASON], "near-duplicate"))
    if not len(gone):
        return False
    sizes = gone[schema.DUPLICATE_OF].value_counts().to_pylist()
    largest = sorted(sizes, key=lambda entry: (-entry["counts"], entry["values"]))[:_ROWS]
    sheet = []
    for entry in largest:
        rows = gone.filter(pc.equal(gone[schema.DUPLICATE_OF], entry["values"])).to_pylist()
        rows.sort(key=lambda row: (-row[schema.SIMILARITY], row[schema.ID]))
        shown = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _COLUMNS - 1)).astype(int))]
        frames = [Frame(entry["values"], f"kept, for {len(rows)} others", _KEPT)]
        frames += [Frame(row[schema.ID], f"cosine {row[schema.SIMILARITY]:.3f}", _GONE) for row in shown]
        sheet.append(frames)
    title = (
        f"Largest groups of near-duplicates: kept frame first ({selection.summary.near_duplicates:,} dropped in all)"
    )
    _draw_sheet(title, sheet, pool, path)
    return True


def draw_outliers(selection: Selection, pool: Dataset, path: Path) -> bool:
    """Contact sheet of the farthest outliers. Returns False, and draws nothing, where there are none."""
    gone = selection.table.filter(pc.equal(selection.table[schema.REASON], "outlier")).to_pylist()
    if not gone:
        return False
    gone.sort(key=lambda row: (-row[schema.DISTANCE], row[schema.ID]))
    frames = [Frame(row[schema.ID], f"distance {row[schema.DISTANCE]:.3f}", _GONE) for row in gone[: 4 * _COLUMNS]]
    sheet = [frames[i : i + _COLUMNS] for i in range(0, len(frames), _COLUMNS)]
    _draw_sheet(f"Outliers, farthest first ({len(gone):,} dropped in all)", sheet, pool, path)
    return True


def _draw_sheet(title: str, rows: Sequence[Sequence[Frame]], pool: Dataset, path: Path) -> None:
    width = _GAP + _COLUMNS * (_CELL + _GAP)
    top, height = 44, _CELL + _TEXT + _GAP
    sheet = Image.new("RGB", (width, top + len(rows) * height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 14), title, _INK, ImageFont.load_default(17))
    images = _images(pool, {frame.id for row in rows for frame in row})
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
    draw.rectangle(box, outline=frame.colour, width=4 if frame.colour == _KEPT else 1)
    font = ImageFont.load_default(12)
    draw.text((x, y + _CELL + 2), frame.note, frame.colour, font)
    draw.text((x, y + _CELL + 16), _shortened(frame.id, font), _FAINT, font)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The end of an id tells most: cut its beginning until it fits the cell."""
    short = text
    while font.getlength(short) > _CELL and len(short) > 4:
        short = "…" + short.lstrip("…")[1:]
    return short


def _images(pool: Dataset, wanted: set[str]) -> dict[str, Image.Image]:
    """Decoded frames by id; one that cannot be decoded is left out."""
    if schema.ID in pool.column_names:
        ids = pool.with_format("arrow")[schema.ID][:].to_pylist()
    else:
        ids = [str(row) for row in range(len(pool))]
    found = {}
    for row, id in enumerate(ids):
        if id in wanted:
            try:
                found[id] = decode(pool[row][schema.IMAGE])
            except UnreadableImage:
                continue
    return found
