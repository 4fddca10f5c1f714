"""A contact sheet of frames as an encoder would see them, and below each what it sees with the surround filled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image

from meddel_hf.data.contact_sheet import COLUMNS, FAINT, GONE, Frame, draw_sheet
from meddel_hf.data.images import Preprocessing, prepare
from meddel_hf.data.pool import Pool
from meddel_hf.errors import UnreadableImage
from meddel_hf.runtime.spacing import evenly_spaced

_PAIRS = 4  # pairs of rows


def draw_view(pool: Pool, preprocessing: Preprocessing, path: Path) -> None:
    """Write a PNG of frames spread over the pool, or of the first ones of a stream; unreadable ones are left out."""
    above: list[Frame] = []
    below: list[Frame] = []
    images: dict[str, Image.Image] = {}
    for id, source in _some(pool, _PAIRS * COLUMNS):
        try:
            whole, seen = (prepare(source, replace(preprocessing, view=view)) for view in ("whole", preprocessing.view))
        except UnreadableImage:
            continue
        filled = float((whole != seen).any(axis=2).mean())
        above.append(Frame(id, "whole", FAINT))
        below.append(Frame(f"{id}, as embedded", f"{filled:.0%} filled" if filled else "left alone", GONE))
        images[id], images[below[-1].id] = Image.fromarray(whole), Image.fromarray(seen)
    rows = [row[i : i + COLUMNS] for i in range(0, len(above), COLUMNS) for row in (above, below)]
    draw_sheet("Frames, and below each what the encoder saw of it", rows, images, path)


def _some(pool: Pool, count: int) -> Iterator[tuple[str, Any]]:
    """(id, undecoded frame) of at most `count` rows."""
    if pool.ids is None or not isinstance(pool.frames, Dataset):
        for row, content in enumerate(islice(iter(pool.frames), count)):
            yield str(content[pool.id_column] if pool.id_column else row), content[pool.image_column]
        return
    for row in evenly_spaced(len(pool.ids), count).tolist():
        try:
            yield pool.ids[row], pool.read(pool.frames[row][pool.image_column])
        except UnreadableImage:
            continue
