"""A selection's table: one row for every row of the pool, in the pool's order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.dedup.decision import Decision
from meddel_hf.runtime.tables import read_schema, read_table

ROWS = "rows.parquet"
_COLUMNS = pa.schema(
    [
        pa.field(schema.ID, pa.string(), nullable=False),
        pa.field(schema.KEPT, pa.bool_(), nullable=False),
        (schema.REASON, pa.string()),
        (schema.DUPLICATE_OF, pa.string()),
        (schema.SIMILARITY, pa.float32()),
        (schema.CLUSTER, pa.int64()),
        (schema.DISTANCE, pa.float32()),
    ]
)


def read_rows(path: Path) -> pa.Table:
    """The table of a selection; one that `meddel benchmark pack` made has its first three columns alone."""
    there = read_schema(path)[0].names
    return read_table(path, pa.schema([field for field in _COLUMNS if not field.nullable or field.name in there]))


def pool_table(
    ids: Sequence[str],
    rows: NDArray[np.int64],
    decision: Decision,
    outlier: NDArray[np.bool_],
    cluster: NDArray[np.int64] | None,
    distance: NDArray[np.float32] | None,
) -> pa.Table:
    """A selection's table. `ids` of the whole pool; all else is about its readable rows, whose numbers are `rows`."""
    n = len(ids)
    reason = np.full(n, "unreadable", object)
    reason[rows] = "near-duplicate"
    reason[rows[outlier]] = "outlier"
    reason[rows[decision.kept]] = None
    columns = {
        schema.ID: pa.array(ids, pa.string()),
        schema.KEPT: pa.array([r is None for r in reason], pa.bool_()),
        schema.REASON: pa.array(reason, pa.string()),
        schema.DUPLICATE_OF: pa.nulls(n, pa.string()),
        schema.SIMILARITY: pa.nulls(n, pa.float32()),
        schema.CLUSTER: _spread(n, rows, cluster, pa.int64()),
        schema.DISTANCE: _spread(n, rows, distance, pa.float32()),
    }
    table = pa.table(columns)
    return _with_duplicates(table, rows, decision)


def decided(table: pa.Table, decision: Decision) -> pa.Table:
    """`table` with the outcome of `decision`, which is about all rows of the pool; other reasons stay as they are."""
    reason = np.asarray(table[schema.REASON].to_pylist(), object)
    open_rows = np.isin(reason, ["unreadable", "outlier"], invert=True)
    reason[open_rows] = "near-duplicate"
    reason[open_rows & decision.kept] = None
    columns = {name: table[name] for name in table.column_names}
    columns[schema.KEPT] = pa.array([r is None for r in reason], pa.bool_())
    columns[schema.REASON] = pa.array(reason, pa.string())
    return _with_duplicates(pa.table(columns), np.arange(len(table)), decision)


def _with_duplicates(table: pa.Table, rows: NDArray[np.int64], decision: Decision) -> pa.Table:
    of = np.full(len(table), -1, np.int64)
    similarity = np.zeros(len(table), np.float32)
    known = decision.duplicate_of >= 0
    of[rows[known]] = rows[decision.duplicate_of[known]]
    similarity[rows[known]] = decision.similarity[known]
    nothing = of < 0
    index = table.schema.get_field_index
    names = table[schema.ID].combine_chunks().take(pa.array(of, mask=nothing))
    table = table.set_column(index(schema.DUPLICATE_OF), schema.DUPLICATE_OF, names)
    return table.set_column(index(schema.SIMILARITY), schema.SIMILARITY, pa.array(similarity, mask=nothing))


def _spread(n: int, rows: NDArray[np.int64], values: NDArray[Any] | None, kind: pa.DataType) -> pa.Array:
    if values is None:
        return pa.nulls(n, kind)
    full, absent = np.zeros(n, values.dtype), np.ones(n, bool)
    full[rows], absent[rows] = values, False
    return pa.array(full, kind, mask=absent)
