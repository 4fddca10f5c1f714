"""Rows made ready for others: images with their bytes in them, metadata looked at or left out, ids hashed."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, Features, Image, Value
from datasets.table import embed_table_storage

from meddel_hf.data.cells import Cell, change_images, with_bytes
from meddel_hf.data.findings import Findings
from meddel_hf.data.metadata.frames import stripped
from meddel_hf.data.parquet import MOST_BYTES
from meddel_hf.errors import InvalidArgument, InvalidDataset, UnreadableImage
from meddel_hf.runtime.files import check_can_write
from meddel_hf.runtime.reading import printable
from meddel_hf.schema import DUPLICATE_OF, FILE, GROUP, ID, NEAREST_KEPT, PATIENT, SERIES, STUDY, VIDEO

_KEY_BYTES = 32
_DIGITS = 32  # of a hashed id, 128 bits
OF_PEOPLE = (PATIENT, STUDY, SERIES)  # columns that are about somebody
_HASHED = (ID, DUPLICATE_OF, NEAREST_KEPT, GROUP, PATIENT, VIDEO, STUDY, SERIES, FILE)


def id_key(path: str | Path, published: Path | None = None) -> bytes:
    """The key of hashed ids, from a file; a new one, readable by this user only, where there is none.

    published: a folder that is made for others, in which the key must not lie. Raises InvalidArgument where it does, or
    where the file is no key.
    """
    path = Path(path)
    if published is not None and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(published)):
        raise InvalidArgument(f"the key {path} lies in {published}, which is made to be published: keep it elsewhere")
    if not path.exists():
        check_can_write(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (ValueError, UnicodeDecodeError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise InvalidArgument(
            f"{path} is no key of hashed ids ({2 * _KEY_BYTES} hexadecimal digits): name another file"
        )
    return key


def hashed(id: str, key: bytes) -> str:
    """HMAC-SHA256 of an id: the same for the same key, and without the key nobody's guess can be tried."""
    return hmac.new(key, id.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:_DIGITS]


def check_people(what: object, columns: Mapping[str, Collection[str | None]], allowed: bool) -> None:
    """Raises InvalidArgument where columns tell who was examined, unless that is allowed.

    columns: name -> values of columns as they would be published.
    """
    for name in OF_PEOPLE:
        told = dict.fromkeys(value for value in columns.get(name, ()) if value is not None)
        if told and not allowed:
            raise InvalidArgument(
                f"{what} was not pushed: its column {name} holds {len(told):,} different values, such as "
                f"{printable(next(iter(told)))}, and ids may name people too: hash both with --hash-ids (of `meddel "
                "filter`; hash_ids= in Python), or publish them with --yes-with-metadata"
            )


def with_hashed(table: pa.Table, columns: list[str], key: bytes) -> pa.Table:
    """The table with those of its columns hashed, null staying null."""
    for name in columns:
        values = [None if value is None else hashed(str(value), key) for value in table[name].to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return table


@dataclass
class Cleaner:
    """Makes rows ready. features: of the rows as they come; `found` is what their images carried as they came.

    strip: leave metadata out of the images. key: hash ids, and leave out the names of the images' files.
    """

    features: Features
    strip: bool
    key: bytes | None
    id_column: str | None
    findings: Findings = field(default_factory=Findings)

    @property
    def hashed_columns(self) -> list[str]:
        wanted = {*_HASHED, self.id_column} if self.key is not None else set()
        return [name for name in self.features if name in wanted]

    @property
    def published(self) -> Features:
        """Of the rows as they go."""
        return Features({**self.features, **dict.fromkeys(self.hashed_columns, Value("string"))})

    def rows(self, dataset: Dataset) -> Iterator[pa.Table]:
        """Tables of one row each, in the columns of `published`; one row is in memory at a time."""
        columns = self.published.arrow_schema
        others = any(hasattr(f, "embed_storage") and not isinstance(f, Image) for f in self.features.values())
        for number, row in enumerate(dataset.with_format("arrow").iter(1)):
            table = change_images(pa.table(row), self.features, partial(self._image, row=number))
            table = embed_table_storage(table.cast(self.features.arrow_schema)) if others else table
            if self.key is not None:
                table = with_hashed(table, self.hashed_columns, self.key)
            if table.nbytes > MOST_BYTES:
                raise InvalidDataset(f"row {number:,} has {table.nbytes:,} bytes, expected {MOST_BYTES:,} at most")
            yield table.cast(columns)

    def _image(self, cell: Cell, row: int) -> Cell:
        cell = with_bytes(cell)
        data = cell["bytes"]
        if data is not None:
            self.findings.look(data)
            if self.strip:
                try:
                    data = stripped(data)
                except UnreadableImage as error:
                    name = cell["path"] or f"of row {row:,}"
                    raise UnreadableImage(
                        f"the metadata of image {name} cannot be left out ({error}): leave the frame out, or store it "
                        "as PNG"
                    ) from error
        return {"bytes": data, "path": None if self.key is not None else cell["path"]}
