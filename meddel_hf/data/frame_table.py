"""A table beside pictures that says more of each by its file_name, as `imagefolder` of `datasets` has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from meddel_hf.data.columns import FIELDS
from meddel_hf.data.given_table import GivenTable
from meddel_hf.errors import InvalidDataset

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # as `datasets` looks for them
FILE_NAME = "file_name"
_SHOWN = 3


@dataclass(frozen=True)
class FrameTable:
    """columns: names besides file_name, as they are written, in the table's order. fields: of each the column of a pool
    that it is, such as "patient" of "Patient", or its own name. rows: file name as it stands, with slashes -> its
    values by column, as text; None where a cell is empty."""

    columns: tuple[str, ...]
    fields: dict[str, str]
    rows: dict[str, dict[str, str | None]]

    @classmethod
    def read(cls, path: Path, synonyms: Mapping[str, str] | None = None) -> FrameTable:
        """synonyms: other names of a pool's columns, in small letters.

        Raises InvalidDataset for what is no table (`GivenTable`), where two columns would become one, and where a file
        name is missing, leads out of the folder or stands twice.
        """
        table = GivenTable.read(path)
        fields = table.fields((FILE_NAME, *FIELDS), synonyms)
        own = next((name for name, field in fields.items() if field == FILE_NAME), None)
        if own is None:
            raise InvalidDataset(f"{path} has no column {FILE_NAME!r} by which its rows name files: it has {table.has}")
        del fields[own]
        return cls(tuple(fields), fields, _by_file(table, own))

    def values(self, name: str) -> dict[str, str | None] | None:
        """Of a file; None where no row names it."""
        return self.rows.get(name)


def _by_file(table: GivenTable, column: str) -> dict[str, dict[str, str | None]]:
    rows: dict[str, dict[str, str | None]] = {}
    for number, record in enumerate(table.records, 1):
        texts = {key: value and value.strip() for key, value in record.items() if key != column}
        name = (record.get(column) or "").strip().replace("\\", "/").removeprefix("./")
        if not name:
            raise InvalidDataset(f"{table.path}: row {number:,} has no {column}")
        if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
            raise InvalidDataset(f"{table.path}: row {number:,} names {name!r}: expected a path below the folder")
        if name in rows:
            raise InvalidDataset(f"{table.path} names {name!r} twice: leave one row of each file")
        rows[name] = texts
    return rows


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
