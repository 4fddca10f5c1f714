"""A contact sheet of an audit: each copy beside the frame of the pool that it is one of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from meddel_hf.data.contact_sheet import FAINT, GONE, KEPT, Frame, draw_sheet
from meddel_hf.overlap.audit import Audit
from meddel_hf.runtime.spacing import evenly_spaced
from meddel_hf.selection.answer import Origin
from meddel_hf.selection.pictures import images_of

if TYPE_CHECKING:
    from datasets import Dataset

_PAIRS, _LINES, _FEWER = 3, 5, 2  # pairs of a line, lines of copies, lines of pairs at the threshold
_POOL, _TEST = "pool: ", "test: "


def draw_pairs(
    answer: Audit, pool: tuple[Dataset, Origin] | None, test: tuple[Dataset, Origin] | None, path: Path
) -> bool:
    """Copies from the most to the least alike, evenly spaced where there are many; below, the pairs that are nearest to
    the threshold and under it.

    pool, test: each data set, and where its embeddings came from; None where it is not at hand: its cells stay dark.
    Returns False, and draws nothing, where neither is.
    """
    if pool is None and test is None:
        return False
    copied = answer.copied.to_pylist()
    shown = [copied[place] for place in evenly_spaced(len(copied), _PAIRS * _LINES)]
    sheet: list[Sequence[Frame] | str] = [*_in_lines([_pair(row) for row in shown])]
    below = [row for row in answer.table.slice(0, len(copied) + _PAIRS * _FEWER).to_pylist() if not row["copied"]]
    if below:
        sheet.append(f"Under the threshold ({answer.likeness:.3f}), nearest to it: not called copies")
        sheet += _in_lines([_pair(row) for row in below])
    title = f"{len(copied):,} of {answer.test:,} test frames are in the pool of {answer.pool:,} frames"
    title += f": {len(shown)} of them, most alike first" if copied else ""
    images: dict[str, Image.Image] = {}
    for side, data in ((_POOL, pool), (_TEST, test)):
        images |= {} if data is None else images_of(*data, sheet, side)
    draw_sheet(title, sheet, images, path)
    return True


def _pair(row: Mapping[str, Any]) -> list[Frame]:
    """Two cells: the frame of the pool, and what stands in the test set."""
    copied, likeness = row["copied"], f"likeness {row['likeness']:.4f}"
    colours = (KEPT, GONE) if copied else (FAINT, FAINT)
    return [
        Frame(_POOL + row["pool_id"], likeness, colours[0]),
        Frame(_TEST + row["test_id"], _in_short(row), colours[1]),
    ]


def _in_short(row: Mapping[str, Any]) -> str:
    """How it was altered, in as many words as fit below a frame."""
    words = "not a copy" + ", mirrored" * row["mirrored"] if row["how"] is None else str(row["how"])
    return re.sub(r" by \d+%", "", words)


def _in_lines(pairs: Sequence[Sequence[Frame]]) -> list[Sequence[Frame]]:
    return [[frame for pair in pairs[at : at + _PAIRS] for frame in pair] for at in range(0, len(pairs), _PAIRS)]
