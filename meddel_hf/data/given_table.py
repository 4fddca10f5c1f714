"""Tables that people wrote: CSV as spreadsheets save it, JSON lines, Parquet. They are read here and nowhere else."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddel_hf.data.columns import number_text, recognised
from meddel_hf.errors import InvalidDataset
from meddel_hf.runtime.reading import printable, reason
from meddel_hf.runtime.regular import read_regular, why_not_read

log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_MOST_BYTES = 1 << 30
_DELIMITERS = {".csv": (",", ";", "\t"), ".tsv": ("\t",)}
_MARKS_OF_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class GivenTable:
    """columns: names as they are written, without spaces around. records: values by column, as text, spaces around
    them too; None where a cell is empty."""

    path: Path
    columns: tuple[str, ...]
    records: tuple[dict[str, str | None], ...]

    @classmethod
    def read(cls, path: Path, *, may_wait: bool = False) -> GivenTable:
        """Of a CSV (comma, semicolon or tab), JSON lines or Parquet file.

        may_wait: the path was typed, and may be a pipe that somebody writes to; one that was found is never waited for.

        Text is UTF-8, with or without a mark before it; a CSV may be UTF-16 with one, or else Windows-1252 (Latin-1),
        which is told. Values stay as they are written: "007" is no number. Raises InvalidDataset where it is no such
        table, two columns have one name, or a row is longer than the header.
        """
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise InvalidDataset(f"{path} is no table: expected {', '.join(SUFFIXES)}")
        try:
            data = path.read_bytes() if may_wait else read_regular(path, _MOST_BYTES)
        except OSError as error:
            raise InvalidDataset(f"{path} cannot be read: {why_not_read(error)}") from error
        if suffix == ".parquet":
            columns, records = _parquet(data, path)
        elif suffix == ".jsonl":
            columns, records = _lines(_utf8(data, path), path)
        else:
            columns, records = _csv(_text(data, path), path, _DELIMITERS[suffix])
        plain = {name: name.strip() for name in columns}
        _check_apart(plain, path)
        texts = tuple({plain[name]: _cell(value) for name, value in record.items()} for record in records)
        return cls(path, tuple(plain.values()), texts)

    def fields(self, known: Iterable[str], synonyms: Mapping[str, str] | None = None) -> dict[str, str]:
        """Column -> the known name that it is recognised as (`recognised`); of any other its own.

        Raises InvalidDataset where two columns would become one.
        """
        names = {name: recognised(name, known, synonyms) for name in self.columns}
        _check_apart(names, self.path)
        return names

    @property
    def has(self) -> str:
        """Its columns, for a sentence."""
        return ", ".join(map(printable, self.columns)) or "no columns"


def _check_apart(names: Mapping[str, str], path: Path) -> None:
    first: dict[str, str] = {}
    for name, target in names.items():
        if target in first:
            raise InvalidDataset(f"{path} has two columns for {target}, {first[target]!r} and {name!r}: leave one")
        first[target] = name


def _cell(value: Any) -> str | None:
    """As text; what is empty, or a number that is none, is missing."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str) if isinstance(value, (bool, dict, list)) else number_text(value)


def _utf8(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidDataset(f"{path} is not UTF-8 (byte {error.start:,}): save it as UTF-8") from error


def _text(data: bytes, path: Path) -> str:
    """Of a CSV, as a spreadsheet may have saved it."""
    try:
        return data.decode("utf-16" if data.startswith(_MARKS_OF_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise InvalidDataset(f"{path} is not UTF-8 (byte {at:,}), nor Windows-1252: save it as UTF-8") from error
    line = text[: text.rfind("\n", 0, at) + 1].count("\n") + 1
    log.warning(
        "note: %s is not UTF-8 (line %s) and was read as Windows-1252 (Latin-1), as spreadsheets write it: save it as "
        "UTF-8 where names come out wrong", path, f"{line:,}",
    )  # fmt: skip
    return text


def _csv(text: str, path: Path, delimiters: tuple[str, ...]) -> tuple[list[str], list[dict[str, Any]]]:
    text = text.lstrip("\r\n")
    if told := re.match(r"sep=(.)(\r\n|\r|\n)", text):  # as Excel writes it
        delimiters, text = (told[1],), text[told.end() :]
    head = re.split(r"[\r\n]", re.sub(r'"[^"]*"', "", text), maxsplit=1)[0]  # a name in quotes may hold any of them
    delimiter = max(delimiters, key=head.count)  # the first of equals
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = _without_tail([name.strip() for name in next(reader, [])], 0)
        if len(set(columns)) < len(columns):
            raise InvalidDataset(f"{path} has two columns of one name: it has {', '.join(columns)}")
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
        return table.column_names, table.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidDataset(f"{path} is no Parquet file, or damaged ({reason(error)})") from error
