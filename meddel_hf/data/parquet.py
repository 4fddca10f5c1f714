"""Rows to Parquet files that are bounded in bytes, not in rows: frames of 20 kB and of 25 MB alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from meddel_hf.runtime.files import whole_file

PART_BYTES = 450_000_000  # of a file's rows: with what Parquet adds it stays below 500 MB
GROUP_ROWS, GROUP_BYTES = 100, 30_000_000  # of a row group: small enough to stream and page well
MOST_BYTES = 2**31 - 1  # of one row's images: Arrow counts the bytes of a column with 32 bits

Row = TypeVar("Row")


def write_parts(
    rows: Iterator[Row],
    columns: pa.Schema,
    name: Callable[[int], Path],
    *,
    weigh: Callable[[Row], int],
    table: Callable[[list[Row]], pa.Table],
    words: Collection[str] = (),
    part_bytes: float | None = None,
    group_rows: int = GROUP_ROWS,
) -> Iterator[tuple[Path, int]]:
    """Write rows as they come into files of `part_bytes` at most, and the row that fills it (default: PART_BYTES).

    weigh: a row's size in bytes; table: rows to a table of `columns`; words: columns whose values repeat, as labels do.
    Yields each file with its number of rows. Memory holds one row group, of GROUP_BYTES and a row.
    """
    part_bytes = PART_BYTES if part_bytes is None else part_bytes
    for part in itertools.count():
        first = next(rows, None)
        if first is None:
            return
        path = name(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as aside, pq.ParquetWriter(aside, columns, **_options(columns, words)) as writer:
            count = _fill(writer, itertools.chain([first], rows), weigh, table, part_bytes, group_rows)
        yield path, count


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Rows of a file as tables of one row; memory holds one row group, where `iter_batches` comes to hold the file."""
    with pq.ParquetFile(path, buffer_size=1 << 20) as file:
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(batch_size=1, row_groups=[group], columns=columns):
                yield pa.Table.from_batches([batch])


def _fill(
    writer: pq.ParquetWriter,
    rows: Iterable[Row],
    weigh: Callable[[Row], int],
    table: Callable[[list[Row]], pa.Table],
    part_bytes: float,
    group_rows: int,
) -> int:
    """Write rows until the file is full; returns how many."""
    group: list[Row] = []
    total = in_group = count = 0
    for row in rows:
        group.append(row)
        in_group += weigh(row)
        count += 1
        full = total + in_group > part_bytes
        if full or len(group) == group_rows or in_group > GROUP_BYTES:
            writer.write_table(table(group))
            total, in_group, group = total + in_group, 0, []
        if full:
            break
    if group:
        writer.write_table(table(group))
    return count


def _options(columns: pa.Schema, words: Collection[str]) -> dict[str, Any]:
    """Images are compressed already, and nobody looks for a range of their bytes."""
    leaves = [leaf.path for leaf in _leaves(columns)]
    pixels = [path for path in leaves if path.endswith(".bytes")]
    return {
        "compression": {path: "NONE" if path in pixels else "SNAPPY" for path in leaves},
        "use_dictionary": [name for name in words if name in columns.names],
        "write_statistics": [path for path in leaves if path not in pixels],
        "write_page_index": True,
    }


def _leaves(columns: pa.Schema) -> list[Any]:
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, columns).close()
    schema_there = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [schema_there.column(i) for i in range(len(schema_there))]
