"""A contact sheet for each configuration, with masks and boxes drawn on the frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from meddel_hf import schema
from meddel_hf.data.contact_sheet import COLUMNS, FAINT, KEPT, Frame, draw_sheet
from meddel_hf.data.images import decode
from meddel_hf.errors import UnreadableImage
from meddel_hf.runtime.spacing import evenly_spaced

FOLDER = "preview"
_ROWS = 4
_MASK, _BOX = (60, 220, 120), (255, 210, 60)
_SIDE = 336  # pixels that a frame is drawn on, before the sheet makes it smaller


def draw(name: str, shards: Sequence[Path], out: Path) -> Path:
    """Write preview/<name>.png: frames at even steps through the configuration's shards."""
    path = out / FOLDER / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    total = sum(pq.read_metadata(shard).num_rows for shard in shards)
    frames, images = [], {}
    for row in _spread(shards, _ROWS * COLUMNS):
        frames.append(Frame(row[schema.ID], _note(row), KEPT if row[schema.MASK] or row[schema.BOXES] else FAINT))
        images[row[schema.ID]] = annotated(row)
    sheet = [frames[i : i + COLUMNS] for i in range(0, len(frames), COLUMNS)]
    draw_sheet(f"{name}: {total:,} frames, masks in green, boxes in yellow", sheet, images, path)
    return path


def annotated(row: Mapping[str, Any]) -> Image.Image:
    """The frame of a row, its mask tinted and outlined and its boxes drawn."""
    try:
        picture = decode(row[schema.IMAGE])
        mask = decode(row[schema.MASK]).convert("L") if row[schema.MASK] else None
    except UnreadableImage:
        return Image.new("RGB", (_SIDE, _SIDE))
    scale = _SIDE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    picture = picture.resize(size)
    if mask is not None:
        small = mask.resize(size, Image.Resampling.NEAREST)
        picture.paste(Image.blend(picture, Image.new("RGB", size, _MASK), 0.35), mask=small)
        edge = ImageChops.subtract(small.filter(ImageFilter.MaxFilter(3)), small.filter(ImageFilter.MinFilter(3)))
        picture.paste(_MASK, mask=edge)
    pen = ImageDraw.Draw(picture)
    for box in row[schema.BOXES]:
        x, y, width, height = (value * scale for value in box["bbox"])
        pen.rectangle((x, y, x + width, y + height), outline=_BOX, width=2)
    return picture


def _note(row: Mapping[str, Any]) -> str:
    words = [row[schema.CENTER], row[schema.LABEL], _boxes(len(row[schema.BOXES]))]
    return ", ".join(filter(None, words))[:26] or f"{row[schema.WIDTH]} x {row[schema.HEIGHT]}"


def _boxes(count: int) -> str | None:
    return f"{count} box{'es' * (count > 1)}" if count else None


def _spread(shards: Sequence[Path], wanted: int) -> Iterator[dict[str, Any]]:
    """Rows at even steps; only the row groups that hold them are read."""
    counts = [pq.read_metadata(shard).num_rows for shard in shards]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    for at in evenly_spaced(total, wanted):
        number = int(np.searchsorted(ends, at, side="right"))
        yield _row(shards[number], int(at - (ends[number] - counts[number])))


def _row(shard: Path, at: int) -> dict[str, Any]:
    with pq.ParquetFile(shard) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if at < rows:
                answer: dict[str, Any] = file.read_row_group(group).slice(at, 1).to_pylist()[0]
                return answer
            at -= rows
    raise IndexError(at)
