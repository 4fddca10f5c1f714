"""Slides as tiles of one level; those without tissue may be left out. Labels and macro pictures are never looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from meddel_hf.data.limits import too_many
from meddel_hf.errors import UnreadableImage
from meddel_hf.ingest import pictures
from meddel_hf.ingest.files import File, Library
from meddel_hf.ingest.reading import Picture, Reading, Remark
from meddel_hf.runtime.words import plural

_CHROMA = 20  # levels between the strongest and the weakest channel from which a pixel is stained, and no glass
_FINE = 16  # pixels of a tile's side in the picture by which tissue is told, where the slide has such a level


def frames(file: File, library: Library, reading: Reading) -> Iterator[Picture | Remark]:
    """Whole tiles of a slide's level, named by level, side and place in pixels of that level.

    Raises UnreadableImage or UnreadableArchive.
    """
    if reading.tile is None:
        raise UnreadableImage("a slide, and no size of tiles was chosen: name one with tile (--tile)")
    path = library.on_disk(file)
    import tiffslide

    slide: Any = tiffslide.TiffSlide(path)
    try:
        yield from _tiles(slide, reading, reading.tile)
    finally:
        slide.close()


def _tiles(slide: Any, reading: Reading, side: int) -> Iterator[Picture | Remark]:
    level = reading.level
    if level >= slide.level_count:
        raise UnreadableImage(f"has {plural(slide.level_count, 'level')}, and level {level} was asked for (--level)")
    width, height = slide.level_dimensions[level]
    if width < side or height < side:
        raise UnreadableImage(f"its level {level} is {width} x {height} pixels, smaller than a tile of {side} (--tile)")
    stained = _Stained(slide, level, side) if reading.tissue > 0 else None
    scale = slide.level_downsamples[level]
    bare = 0
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):
            if stained is not None and stained.share(left, top) < reading.tissue:
                bare += 1
                continue
            place = (round(left * scale), round(top * scale))
            image = slide.read_region(place, level, (side, side)).convert("RGB")
            name = f"l{level}t{side}/x{left:06d}y{top:06d}"
            yield Picture(name, pictures.as_jpeg(image), ".jpg", side, side)
    if bare:
        yield Remark(f"left out {plural(bare, 'tile')} with less tissue than {reading.tissue:.0%} (--tissue)")


class _Stained:
    """Which pixels of a slide are stained, by its coarsest level in which a tile is still _FINE pixels wide."""

    def __init__(self, slide: Any, level: int, side: int) -> None:
        coarse = max(
            (n for n in range(slide.level_count) if self._ratio(slide, level, n) * _FINE <= side or n == level),
            key=lambda n: slide.level_downsamples[n],
        )
        width, height = slide.level_dimensions[coarse]
        if too_many(width * height):
            raise UnreadableImage(
                f"too large to look for tissue: its level {coarse} is {width}x{height} pixels; take all tiles "
                "(--tissue 0)"
            )
        pixels = np.asarray(slide.read_region((0, 0), coarse, (width, height)).convert("RGB"))
        self._is_tissue = pixels.max(axis=2) - pixels.min(axis=2) >= _CHROMA
        self._ratio_here, self._side = self._ratio(slide, level, coarse), side

    def share(self, left: int, top: int) -> float:
        """Of a tile's pixels, at its place in its own level."""
        x, y = (int(value / self._ratio_here) for value in (left, top))
        side = max(1, round(self._side / self._ratio_here))
        part = self._is_tissue[y : y + side, x : x + side]
        return float(part.mean()) if part.size else 0.0

    @staticmethod
    def _ratio(slide: Any, level: int, coarse: int) -> float:
        return float(slide.level_downsamples[coarse] / slide.level_downsamples[level])
