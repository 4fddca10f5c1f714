"""What an old selection says of the rows of a store: they are known again by their content, or else by their ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.embedding.known_again import known_again
from meddel_hf.errors import Mismatch
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors.protocol import PoolRows

_NOBODY = -1


@dataclass(frozen=True, eq=False)
class Before:
    """Arrays are about the readable rows of the store, (n,); rows are given as places among them, -1 for none.

    new:          rows that the old selection does not know, or could not see.
    kept, near, left_out, outlier, in_reference: what became of the others.
    row:          int64, of each its row in the old selection's table, -1 where it has none.
    duplicate_of, similarity: of a near-duplicate, as in the selection's table; -1 where that row is gone.
    nearest, nearest_similarity: of a row that goes; None where the selection did not tell.
    cluster, distance: None where nothing was clustered.
    gone:         (k,) rows of the old selection that the store does not hold.
    unknown:      (u,) rows of the store, readable or not, that the old selection does not have.
    """

    new: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    near: NDArray[np.bool_]
    left_out: NDArray[np.bool_]
    outlier: NDArray[np.bool_]
    in_reference: NDArray[np.bool_]
    row: Rows
    duplicate_of: Rows
    similarity: NDArray[np.float32]
    nearest: Rows | None
    nearest_similarity: NDArray[np.float32] | None
    cluster: Rows | None
    distance: NDArray[np.float32] | None
    gone: Rows
    unknown: Rows

    @classmethod
    def of(cls, old: Selection, readable: PoolRows) -> Before:
        """Raises Mismatch where the store holds no row of the old selection, or nothing by which one is known again."""
        row = _rows_in(old.table, readable)
        if not (row >= 0).any():
            raise Mismatch(
                f"none of the {len(readable.ids):,} rows of the store is among the {len(old):,} of the old selection: "
                "extend a selection of an earlier state of this pool"
            )
        table, rows = old.table, row[readable.rows]
        known = rows >= 0
        at = pa.array(np.where(known, rows, 0))
        place = np.full(len(old), _NOBODY, np.int64)
        place[rows[known]] = np.flatnonzero(known)

        def column(name: str, nothing: Any) -> NDArray[Any]:
            values = pc.fill_null(table[name].combine_chunks().take(at), nothing).to_numpy(zero_copy_only=False)
            return np.where(known, values, np.asarray(nothing, values.dtype))

        def other(name: str) -> Rows:
            of = pc.fill_null(pc.index_in(table[name], table[schema.ID].combine_chunks()), _NOBODY).to_numpy()[rows]
            return np.where(known & (of >= 0), place[of], _NOBODY)

        reason = column(schema.REASON, "")
        has_nearest = schema.NEAREST_KEPT in table.column_names
        clustered = schema.CLUSTER in table.column_names and table[schema.CLUSTER].null_count < len(table)
        seen = known & (reason != "unreadable")
        return cls(
            new=~seen,
            kept=seen & (reason == ""),
            near=reason == "near-duplicate",
            left_out=reason == "not-selected",
            outlier=reason == "outlier",
            in_reference=reason == "in-reference",
            row=rows,
            duplicate_of=other(schema.DUPLICATE_OF),
            similarity=column(schema.SIMILARITY, np.float32(-2)),
            nearest=other(schema.NEAREST_KEPT) if has_nearest else None,
            nearest_similarity=column(schema.NEAREST_SIMILARITY, np.float32(-2)) if has_nearest else None,
            cluster=column(schema.CLUSTER, 0) if clustered else None,
            distance=column(schema.DISTANCE, np.float32(0)) if clustered else None,
            gone=np.setdiff1d(np.arange(len(old)), row),
            unknown=np.flatnonzero(row < 0),
        )


def _rows_in(table: pa.Table, readable: PoolRows) -> Rows:
    """Of each row of the pool its row in an old selection's table, (rows,); -1 where it has none; no row twice."""
    has_digests = schema.DIGEST in table.column_names and readable.digests is not None
    if not has_digests and readable.origin.row_ids and readable.origin.embeddings is not None:
        raise Mismatch(
            "ids are row numbers, which change as a pool grows, and the old selection or the store has no digests "
            "of frames by which to know them again: embed with this version and select from that"
        )
    digests = table[schema.DIGEST].combine_chunks() if has_digests else None
    return known_again(readable.every_id, readable.digests, table[schema.ID], digests)
