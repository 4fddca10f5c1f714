"""A table beside pictures that says more of each by its file_name, as `imagefolder` of `datasets` has it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddel_hf.data.columns import number_text
from meddel_hf.errors import InvalidDataset
from meddel_hf.runtime.regular import read_regular, why_not_read

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # as `datasets` looks for them
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
FILE_NAME = "file_name"
_MOST_BYTES = 1 << 30
_SHOWN = 3
_DELIMITERS = {".csv": (",", ";", "\t"), ".tsv": ("\t",)}


@dataclass(frozen=True)
class FrameTable:
    """columns: names besides file_name, in the table's order. rows: file name as it stands, with slashes -> its values
    by column, as text; None where a cell is empty."""

    columns: tuple[str, ...]
    rows: dict[str, dict[str, str | None]]

    @classmethod
    def read(cls, path: Path) -> FrameTable:
        """Of a CSV (comma, semicolon or tab), JSON lines or Parquet file, UTF-8.

        Values stay as they are written: "007" is no number. Raises InvalidDataset where it is no such table, a file
        name is missing, leads out of the folder or stands twice, or a row is longer than the header.
        """
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise InvalidDataset(f"{path} is no table: expected {', '.join(SUFFIXES)}")
        try:
            data = read_regular(path, _MOST_BYTES)
        except OSError as error:
            raise InvalidDataset(f"{path} cannot be read: {why_not_read(error)}") from error
        columns, records = _parquet(data, path) if suffix == ".parquet" else _text(data, path, suffix)
        if FILE_NAME not in columns:
            raise InvalidDataset(
                f"{path} has no column {FILE_NAME!r} by which its rows name files: it has {_few(columns)}"
            )
        return cls(tuple(name for name in columns if name != FILE_NAME), _by_file(records, path))

    def values(self, name: str) -> dict[str, str | None] | None:
        """Of a file; None where no row names it."""
        return self.rows.get(name)


def _by_file(records: Iterable[dict[str, Any]], path: Path) -> dict[str, dict[str, str | None]]:
    rows: dict[str, dict[str, str | None]] = {}
    for number, record in enumerate(records, 1):
        texts = {name: _cell(value) for name, value in record.items()}
        name = (texts.pop(FILE_NAME, None) or "").replace("\\", "/").removeprefix("./")
        if not name:
            raise InvalidDataset(f"{path}: row {number:,} has no {FILE_NAME}")
        if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
            raise InvalidDataset(f"{path}: row {number:,} names {name!r}: expected a path below the folder")
        if name in rows:
            raise InvalidDataset(f"{path} names {name!r} twice: leave one row of each file")
        rows[name] = texts
    return rows


def _cell(value: Any) -> str | None:
    """As text; what is empty, or a number that is none, is missing."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None
    return (
        value.strip()
        if isinstance(value, str)
        else json.dumps(value)
        if isinstance(value, (bool, dict, list))
        else number_text(value)
    )


def _text(data: bytes, path: Path, suffix: str) -> tuple[list[str], list[dict[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidDataset(f"{path} is not UTF-8 (byte {error.start:,}): save it as UTF-8") from error
    return _lines(text, path) if suffix == ".jsonl" else _csv(text, path, _DELIMITERS[suffix])


def _csv(text: str, path: Path, delimiters: tuple[str, ...]) -> tuple[list[str], list[dict[str, Any]]]:
    head = text.partition("\n")[0]
    delimiter = max(delimiters, key=head.count)  # the first of equals
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = _without_tail([name.strip() for name in next(reader, [])], 0)
        if len(set(columns)) < len(columns):
            raise InvalidDataset(f"{path} has two columns of one name: it has {_few(columns)}")
        records = []
        for cells in reader:
            cells = _without_tail(cells, len(columns))
            if len(cells) > len(columns):
                raise InvalidDataset(
                    f"{path}: line {reader.line_num:,} has {len(cells)} cells, its head {len(columns)}"
                )
            if any(map(str.strip, cells)):
                records.append(dict(zip(columns, cells, strict=False)))
    except csv.Error as error:
        raise InvalidDataset(f"{path} is damaged at line {reader.line_num:,}: {error}") from error
    return columns, records


def _without_tail(cells: list[str], least: int) -> list[str]:
    """Without the empty cells at its end beyond so many: spreadsheets write columns that were emptied."""
    while len(cells) > least and not cells[-1].strip():
        cells = cells[:-1]
    return cells


def _lines(text: str, path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    columns: dict[str, None] = {}
    records = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidDataset(f"{path}: line {number:,} is not JSON") from error
        if not isinstance(record, dict):
            raise InvalidDataset(f"{path}: line {number:,} is no JSON object")
        columns.update(dict.fromkeys(record))
        records.append(record)
    return list(columns), records


def _parquet(data: bytes, path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise InvalidDataset(f"{path} is no Parquet file, or damaged") from error
    return table.column_names, table.to_pylist()


def _few(names: Iterable[str]) -> str:
    return ", ".join(names) or "no columns"


def shown(names: Iterable[str], count: int) -> str:
    """Some of `count` names, for a sentence."""
    first = [name for name, _ in zip(names, range(_SHOWN), strict=False)]
    more = f" and {count - len(first):,} more" if count > len(first) else ""
    return ", ".join(first) + more


def tables_in(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(path, the folder that its file names are relative to, with a slash or "") of the tables among relative paths."""
    for name in names:
        folder, slash, last = name.rpartition("/")
        if last in NAMES:
            yield name, folder + slash
