"""A selection's table: one row for every row of the pool, in the pool's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.dedup.decision import Decision
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.runtime.tables import read_schema, read_table

ROWS = "rows.parquet"
_OF_DUPLICATES = (schema.DUPLICATE_OF, schema.SIMILARITY)
_OF_NEAREST = (schema.NEAREST_KEPT, schema.NEAREST_SIMILARITY)
_REASONS = ["unreadable", "near-duplicate", "outlier", "not-selected", "in-reference", "set-aside"]
# places among them; kept rows have none
_UNREADABLE, _NEAR_DUPLICATE, _OUTLIER, _NOT_SELECTED, _IN_REFERENCE, _SET_ASIDE, _KEPT = range(7)
_COLUMNS = pa.schema(
    [
        pa.field(schema.ID, pa.string(), nullable=False),
        pa.field(schema.KEPT, pa.bool_(), nullable=False),
        (schema.REASON, pa.string()),
        (schema.DUPLICATE_OF, pa.string()),
        (schema.SIMILARITY, pa.float32()),
        (schema.CLUSTER, pa.int64()),
        (schema.DISTANCE, pa.float32()),
        (schema.NEAREST_KEPT, pa.string()),
        (schema.NEAREST_SIMILARITY, pa.float32()),
        (schema.DIGEST, pa.binary(16)),
        (schema.IN_REFERENCE, pa.string()),
        (schema.REFERENCE_SIMILARITY, pa.float32()),
        (schema.BY_HAND, pa.string()),
    ]
)


def read_rows(path: Path) -> pa.Table:
    """The table of a selection; one that `meddel benchmark pack` made has its first three columns alone, and a selector
    of two steps alone has the nearest kept frames, one beside a reference set alone the last two."""
    there = read_schema(path)[0].names
    return read_table(path, pa.schema([field for field in _COLUMNS if not field.nullable or field.name in there]))


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Rows that are no near-duplicates, and were not drawn either; all arrays are about the readable rows, (n,).

    rows:       bool, the rows that were left out.
    nearest:    int64, of every row that goes: the kept row of greatest cosine; -1 of others.
    similarity: float32, that cosine. Both are None where nothing was compared.
    """

    rows: NDArray[np.bool_]
    nearest: NDArray[np.int64] | None = None
    similarity: NDArray[np.float32] | None = None


def pool_table(
    ids: Sequence[str] | pa.ChunkedArray,
    rows: NDArray[np.int64],
    decision: Decision,
    outlier: NDArray[np.bool_],
    cluster: NDArray[np.int64] | None,
    distance: NDArray[np.float32] | None,
    left_out: LeftOut | None = None,
) -> pa.Table:
    """A selection's table. `ids` of the whole pool; all else is about its readable rows, whose numbers are `rows`.

    decision: who are near-duplicates, and of whom; rows that it keeps may be left out afterwards.
    """
    n = len(ids)
    reason = np.full(n, _UNREADABLE, np.int8)
    reason[rows] = _NEAR_DUPLICATE
    reason[rows[outlier]] = _OUTLIER
    reason[rows[decision.kept]] = _KEPT
    if left_out is not None:
        reason[rows[left_out.rows]] = _NOT_SELECTED
    columns = {
        schema.ID: ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else pa.array(ids, pa.string()),
        schema.KEPT: pa.array(reason == _KEPT),
        schema.REASON: pa.array(_REASONS, pa.string()).take(pa.array(reason, mask=reason == _KEPT)),
        schema.DUPLICATE_OF: pa.nulls(n, pa.string()),
        schema.SIMILARITY: pa.nulls(n, pa.float32()),
        schema.CLUSTER: _spread(n, rows, cluster, pa.int64()),
        schema.DISTANCE: _spread(n, rows, distance, pa.float32()),
    }
    table = _naming(pa.table(columns), rows, decision.duplicate_of, decision.similarity, _OF_DUPLICATES)
    if left_out is None or left_out.nearest is None or left_out.similarity is None:
        return table
    return _naming(table, rows, left_out.nearest, left_out.similarity, _OF_NEAREST)


def with_digests(table: pa.Table, digests: pa.Array | None) -> pa.Table:
    """`table` with the digest of each row's frame, by which the row is known again in a pool that has grown."""
    return table if digests is None else _in_order(table.append_column(schema.DIGEST, digests))


def with_nearest(
    table: pa.Table, rows: NDArray[np.int64], nearest: NDArray[np.int64], similarity: NDArray[np.float32]
) -> pa.Table:
    """`table` with the kept row nearest to each of `rows`, and its cosine; row numbers are the pool's."""
    of, cosine = np.full(len(table), -1, np.int64), np.full(len(table), -2, np.float32)
    of[rows], cosine[rows] = nearest, similarity
    return _in_order(_naming(table, np.arange(len(table)), of, cosine, _OF_NEAREST))


def with_reference(
    table: pa.Table, rows: NDArray[np.int64], ids: Sequence[str], cosine: NDArray[np.float32]
) -> pa.Table:
    """`table` with `rows` of the pool as "in-reference", the nearest reference row's id, and its cosine."""
    reached = np.zeros(len(table), bool)
    names, similarity = np.full(len(table), None, object), np.zeros(len(table), np.float32)
    reached[rows], names[rows], similarity[rows] = True, ids, cosine
    at = table.schema.get_field_index(schema.REASON)
    reason = pc.if_else(pa.array(reached), _REASONS[_IN_REFERENCE], table[schema.REASON])
    table = table.set_column(at, schema.REASON, reason)
    table = table.append_column(schema.IN_REFERENCE, pa.array(names, pa.string()))
    return _in_order(table.append_column(schema.REFERENCE_SIMILARITY, pa.array(similarity, mask=~reached)))


def with_marks(table: pa.Table, keep: Rows, never: Rows, near: Rows, of: Rows, cosine: NDArray[np.float32]) -> pa.Table:
    """`table` with what a person decided: rows that are always and never kept, and near-duplicates of the former, of
    which one each. The nearest kept rows, which were told without them, go."""
    table = table.drop_columns([name for name in _OF_NEAREST if name in table.column_names])
    names = pa.array(_REASONS, pa.string())
    reason = pc.index_in(table[schema.REASON], names).fill_null(_KEPT).to_numpy().copy()
    reason[near], reason[keep], reason[never] = _NEAR_DUPLICATE, _KEPT, _SET_ASIDE
    mark = np.zeros(len(table), np.int8)
    mark[keep], mark[never] = 1, 2
    columns = {name: table[name] for name in table.column_names}
    columns[schema.KEPT] = pa.array(reason == _KEPT)
    columns[schema.REASON] = names.take(pa.array(reason, mask=reason == _KEPT))
    columns[schema.BY_HAND] = pa.array(["keep", "never"]).take(pa.array(mark - 1, mask=mark == 0))
    other, similarity = _known(table, schema.DUPLICATE_OF, schema.SIMILARITY)
    other[near], similarity[near] = of, cosine
    return _in_order(_naming(pa.table(columns), np.arange(len(table)), other, similarity, _OF_DUPLICATES))


def _known(table: pa.Table, named: str, cosine: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows of the pool that a column names, -1 where it names none, and the cosines."""
    of = pc.index_in(table[named], table[schema.ID].combine_chunks()).fill_null(-1).to_numpy().astype(np.int64)
    of[table[named].is_null().to_numpy()] = -1
    return of, table[cosine].fill_null(0).to_numpy().astype(np.float32)


def decided(table: pa.Table, decision: Decision) -> pa.Table:
    """`table` with the outcome of `decision`, which is about all rows of the pool; other reasons stay as they are."""
    table = _with_kept(table, decision.kept, (_NEAR_DUPLICATE, _NOT_SELECTED, _KEPT), _NEAR_DUPLICATE)
    return _naming(table, np.arange(len(table)), decision.duplicate_of, decision.similarity, _OF_DUPLICATES)


def drawn(table: pa.Table, kept: NDArray[np.bool_]) -> pa.Table:
    """`table` where a second step drew these rows, (n,), among those that were kept or not selected."""
    return _with_kept(table, kept, (_NOT_SELECTED, _KEPT), _NOT_SELECTED)


def _with_kept(table: pa.Table, kept: NDArray[np.bool_], of: Sequence[int], goes: int) -> pa.Table:
    """`table` with other rows kept, among those of some reasons; the others of those go for one. Which kept row is
    nearest to one that goes is not told any more."""
    names = pa.array(_REASONS, pa.string())
    reason = pc.index_in(table[schema.REASON], names).fill_null(_KEPT).to_numpy().copy()
    open_rows = np.isin(reason, of)
    reason[open_rows] = np.where(kept[open_rows], _KEPT, goes)
    columns = {name: table[name] for name in table.column_names if name not in _OF_NEAREST}
    columns[schema.KEPT] = pa.array(reason == _KEPT)
    columns[schema.REASON] = names.take(pa.array(reason, mask=reason == _KEPT))
    return pa.table(columns)


def _in_order(table: pa.Table) -> pa.Table:
    """Its columns as they stand in a file, in whatever order they came."""
    return table.select([name for name in _COLUMNS.names if name in table.column_names])


def _naming(
    table: pa.Table,
    rows: NDArray[np.int64],
    other: NDArray[np.int64],
    cosine: NDArray[np.float32],
    names: tuple[str, str],
) -> pa.Table:
    """The table with two columns: for each of `rows` the id of its other row, where there is one, and the cosine."""
    of = np.full(len(table), -1, np.int64)
    similarity = np.zeros(len(table), np.float32)
    known = other >= 0
    of[rows[known]] = rows[other[known]]
    similarity[rows[known]] = cosine[known]
    nothing = of < 0
    ids = table[schema.ID].combine_chunks().take(pa.array(of, mask=nothing))
    for name, column in zip(names, (ids, pa.array(similarity, mask=nothing)), strict=True):
        at = table.schema.get_field_index(name)
        table = table.append_column(name, column) if at < 0 else table.set_column(at, name, column)
    return table


def _spread(n: int, rows: NDArray[np.int64], values: NDArray[Any] | None, kind: pa.DataType) -> pa.Array:
    if values is None:
        return pa.nulls(n, kind)
    full, absent = np.zeros(n, values.dtype), np.ones(n, bool)
    full[rows], absent[rows] = values, False
    return pa.array(full, kind, mask=absent)
