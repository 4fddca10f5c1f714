"""Frames in small, for the page: WebP, whose bytes a browser shows as they are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from datasets import Dataset

from meddel_hf.data.images import reduced
from meddel_hf.errors import UnreadableImage
from meddel_hf.runtime.progress import tqdm

_SIDES = ((2_000, 176), (8_000, 128))  # frames -> pixels of the longer side: 1 to 2 kB each
_LEAST = 112
_QUALITY = 60
_THREADS, _AT_ONCE = 2, 64


def side_for(frames: int) -> int:
    """Pixels of the longer side, where so many frames share a page."""
    return next((side for most, side in _SIDES if frames <= most), _LEAST)


def small(cell: Any, side: int) -> bytes:
    """A frame as WebP, its longer side at most `side` pixels; no bytes where it cannot be decoded."""
    try:
        picture = reduced(cell, side)
    except UnreadableImage:
        return b""
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=_QUALITY, method=4)
    return content.getvalue()


def pictures(pool: Dataset, rows: Sequence[int], column: str, side: int) -> list[bytes]:
    """Of rows of the pool; of -1, and of a frame that cannot be decoded, no bytes."""
    answer: list[bytes] = []
    plain = pool.select_columns([column])
    with (
        ThreadPoolExecutor(_THREADS) as threads,
        tqdm(total=len(rows), desc="small pictures", unit="frame", delay=5, leave=False) as bar,
    ):
        for start in range(0, len(rows), _AT_ONCE):
            cells = [plain[row][column] if row >= 0 else None for row in rows[start : start + _AT_ONCE]]
            answer += threads.map(lambda cell: small(cell, side), cells)
            bar.update(len(cells))
    return answer
