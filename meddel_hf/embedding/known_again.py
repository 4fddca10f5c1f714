"""Which rows of a pool are rows of an earlier state of it: by the bytes of their frames, none twice."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_NOBODY = -1
_UNREAD = b""


def known_again(
    ids: pa.ChunkedArray,
    digests: pa.Array | None,
    earlier_ids: pa.ChunkedArray,
    earlier_digests: pa.Array | None,
) -> NDArray[np.int64]:
    """Of each row its row in the earlier state, (n,) int64, -1 where it is new; no earlier row stands twice.

    A frame is the one of its id where its bytes are the same, else the first of the same bytes that is left: of two
    copies, where there was one, the second is new. Where one side knows no digests, ids alone tell.
    """
    row = np.array(pc.fill_null(pc.index_in(ids, earlier_ids.combine_chunks()), _NOBODY), np.int64)
    if digests is None or earlier_digests is None:
        return row
    if not len(earlier_digests):
        return row
    before, after = _keys(earlier_digests), _keys(digests)
    row[(row >= 0) & (before[row] != after)] = _NOBODY  # another frame has taken the id, or the number
    rest, free = np.flatnonzero(row < 0), np.setdiff1d(np.arange(len(before)), row)
    rest, free = rest[after[rest] != _UNREAD], free[before[free] != _UNREAD]
    row[rest] = _paired(after[rest], before[free], free)
    return row


def _keys(digests: pa.FixedSizeBinaryArray) -> NDArray[np.bytes_]:
    """(n,) their 16 bytes; zeros, which no frame has, where there is no digest."""
    known = pc.fill_null(digests, bytes(16))
    answer: NDArray[np.bytes_] = np.frombuffer(known.buffers()[1], "S16")[known.offset : known.offset + len(known)]
    return answer


def _paired(wanted: NDArray[np.bytes_], there: NDArray[np.bytes_], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each wanted key the entry of `rows` that has it in `there`, the first for the first; -1 where none is left."""
    answer = np.full(len(wanted), _NOBODY, np.int64)
    left, right = _numbered(wanted), _numbered(there)
    _, mine, theirs = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    answer[mine] = rows[theirs]
    return answer


def _numbered(keys: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """Keys with how many equal ones stand before each, so that no two are the same."""
    order = np.argsort(keys, kind="stable")
    _, first, count = np.unique(keys[order], return_index=True, return_counts=True)
    number = np.empty(len(keys), np.int64)
    number[order] = np.arange(len(keys)) - np.repeat(first, count)
    return np.char.add(np.char.add(keys, b"-"), number.astype("S20"))
