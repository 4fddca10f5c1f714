"""How large frames are, as their store noted it: by that the better of two near-duplicates can be told."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.decision import Decision
from meddel_hf.dedup.search import Keep
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.neighbors.row_source import BLOCK, blocks_of
from meddel_hf.runtime.words import is_or_are, plural

_MANY_BYTES = 1.5  # times as many, from which a frame of as many pixels counts as clearly larger


def largest_first(keep: Keep, embeddings: Any) -> Rows | None:
    """Of each readable row its place among all, those of most pixels first, then of most bytes; equals as in the pool.

    (n,) int64; None where others than the largest are to stay. embeddings: a store. Raises InvalidArgument where it
    noted no sizes.
    """
    if keep != "largest":
        return None
    if not isinstance(embeddings, EmbeddingStore):
        raise InvalidArgument(
            "keep='largest' goes by the pixels and bytes of frames, which a plain array has not: give the folder that "
            "`meddel embed` wrote, or leave keep at 'closest'"
        )
    if embeddings.sizes is None:
        raise InvalidArgument(
            f"{embeddings.folder} was made by an earlier version, which noted no sizes of frames, and keep='largest' "
            "goes by them: embed into another folder, without --from, or leave keep at 'closest'"
        )
    pixels, size = embeddings.sizes.T
    place = np.empty(len(pixels), np.int64)
    place[np.lexsort((-size, -pixels))] = np.arange(len(place))
    return place


def note_on_larger(embeddings: Any, decision: Decision) -> list[str]:
    """What to say where frames go as near-duplicates of clearly smaller ones."""
    gone = np.flatnonzero(decision.duplicate_of >= 0)
    if not len(gone) or not isinstance(embeddings, EmbeddingStore) or (sizes := embeddings.sizes) is None:
        return []
    parts = [gone[start:stop] for start, stop in blocks_of(len(gone), BLOCK)]  # of ten million rows no large copies
    count = sum(int(_clearly_larger(sizes[part], sizes[decision.duplicate_of[part]]).sum()) for part in parts)
    if not count:
        return []
    return [
        f"{count:,} of {plural(len(gone), 'near-duplicate')} that went {is_or_are(count)} clearly larger than the "
        f"frame that is kept instead (more pixels, or as many and {_MANY_BYTES:g} times the bytes): to keep the larger "
        'one of each, select with keep="largest" (--keep largest)'
    ]


def _clearly_larger(these: NDArray[np.int64], than: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of each pair, (m, 2) pixels and bytes."""
    (pixels, size), (others, other_size) = these.T, than.T
    answer: NDArray[np.bool_] = (pixels > others) | ((pixels == others) & (size >= _MANY_BYTES * other_size))
    return answer
