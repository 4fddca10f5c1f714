"""Parquet of ours, read: the columns that are expected, of the kinds that are expected, or one sentence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from meddel_hf.errors import IncompleteStore
from meddel_hf.runtime.reading import CURE, intact
from meddel_hf.runtime.words import plural


def read_table(
    path: Path,
    columns: pa.Schema | Sequence[str] | None = None,
    *,
    cure: str = CURE,
) -> pa.Table:
    """Read a whole file.

    columns: those to read; of a schema their types are checked, and that a field that is not nullable has no nulls.
             None: all.
    Raises IncompleteStore where the file is missing, damaged or lacks a column. What the system says stays an OSError.
    """
    names = columns.names if isinstance(columns, pa.Schema) else columns
    with intact(path, cure), _native(path) as file, pq.ParquetFile(file) as parquet:
        there = parquet.schema_arrow.names
        missing = [name for name in names or () if name not in there]
        if missing:
            raise IncompleteStore(f"{path} has no column {missing[0]!r}, but {', '.join(there) or 'none'}: {cure}")
        table = parquet.read(columns=None if names is None else list(names))
        table.validate(full=True)  # texts are UTF-8, offsets lie inside
    for field in columns if isinstance(columns, pa.Schema) else ():
        column = table[field.name]
        if column.type != field.type:
            kinds = f"column {field.name!r} is {column.type}, expected {field.type}"
            raise IncompleteStore(f"{path} is damaged ({kinds}): {cure}")
        if not field.nullable and column.null_count:
            without = plural(column.null_count, "row has", "rows have")
            raise IncompleteStore(f"{path} is damaged ({without} no {field.name!r}): {cure}")
    return table


def read_schema(path: Path) -> tuple[pa.Schema, int]:
    """(schema with its metadata, rows) of a file, from its footer. Raises IncompleteStore as `read_table` does."""
    with intact(path), _native(path) as file, pq.ParquetFile(file) as parquet:
        return parquet.schema_arrow, parquet.metadata.num_rows


def exactly(**kinds: pa.DataType) -> pa.Schema:
    """A schema of columns that have no nulls."""
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


def _native(path: Path) -> pa.NativeFile:
    """The file, for pyarrow's threads: one of Python's, that they still hold when Python ends, ends it by a signal."""
    path.open("rb").close()  # what the system says of a path comes from Python, as everywhere
    return pa.OSFile(os.fsencode(path))
