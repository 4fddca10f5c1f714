"""A data set's folder on its way to others: what its images carry, and a copy in which they carry nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image

from meddel_hf.data.cells import Cell, change_images, holds_images
from meddel_hf.data.findings import Findings
from meddel_hf.data.metadata.frames import stripped
from meddel_hf.data.parquet import read_rows, write_parts
from meddel_hf.data.scan import IMAGE_SUFFIXES
from meddel_hf.errors import IncompleteStore, UnreadableImage
from meddel_hf.runtime.files import aside_of, sweep

METADATA = "metadata.jsonl"  # of a folder of image files: what is known of each
_CELL = {"bytes", "path"}  # of an image in a table that does not say that it is one


def look(folder: Path, names: Iterable[str] | None = None) -> Findings:
    """Look at every image in a folder: in the columns of its Parquet files, and in files of its own.

    names: of the files that are looked at, relative to the folder; None: all but hidden ones.
    """
    findings = Findings()
    for path in _named(folder, names):
        if path.suffix == ".parquet":
            names = _image_columns(path)
            for row in read_rows(path, names) if names else ():
                change_images(row, _features(row.schema), partial(_looked_at, findings=findings))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            findings.look(path.read_bytes())
    return findings


def texts_of(folder: Path, columns: Collection[str], names: Iterable[str] | None = None) -> dict[str, list[str | None]]:
    """Every value of some columns in a folder's Parquet files, or beside its image files, as text; names: as `look`."""
    found: dict[str, list[str | None]] = {}
    files = _named(folder, names)
    if folder / METADATA in files:
        rows = map(json.loads, filter(None, (folder / METADATA).read_text(encoding="utf-8").split("\n")))
        for name, value in ((name, row.get(name)) for row in rows for name in columns):
            found.setdefault(name, []).append(None if value is None else str(value))
    for path in files:
        held = [name for name in columns if path.suffix == ".parquet" and name in _schema(path).names]
        table = pq.read_table(path, columns=held) if held else pa.table({})
        for name in held:
            found.setdefault(name, []).extend(
                None if value is None else str(value) for value in table[name].to_pylist()
            )
    return found


def copy_without_metadata(file: Path, place: Path) -> None:
    """Write a file to `place`, its images without metadata; one that holds none becomes a link.

    Raises UnreadableImage, naming the file, where that cannot be done to an image.
    """
    try:
        if file.suffix == ".parquet" and _image_columns(file):
            _strip_table(file, place)
        elif file.suffix.lower() in IMAGE_SUFFIXES:
            place.write_bytes(stripped(file.read_bytes()))
        else:
            place.symlink_to(file.resolve())
    except UnreadableImage as error:
        raise UnreadableImage(f"the metadata in {file} cannot be left out: {error}") from error


@contextmanager
def room_beside(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, where as much may fit again; it is gone after the block.

    What a killed process left there goes first. Where nothing can be written beside, the folder is a temporary one.
    """
    place = folder.resolve()
    if not os.access(place.parent, os.W_OK):
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    sweep(place.parent, place.name)
    aside = aside_of(place)
    aside.mkdir()
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def files_in(folder: Path) -> list[Path]:
    """Regular files, those of hidden folders and hidden files left out."""
    there = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in there if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _named(folder: Path, names: Iterable[str] | None) -> list[Path]:
    return files_in(folder) if names is None else [folder / name for name in sorted(names)]


def _image_columns(path: Path) -> list[str]:
    return [name for name, feature in _features(_schema(path)).items() if holds_images(feature)]


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except pa.ArrowInvalid as error:
        raise IncompleteStore(f"{path} is damaged ({str(error).splitlines()[0]}): make the folder again") from error


def _features(columns: pa.Schema) -> Features:
    """Features of a table; a struct of bytes and path is an image, whether or not the table says so."""
    features = Features.from_arrow_schema(columns)
    return Features({name: Image() if _is_cell(feature) else feature for name, feature in features.items()})


def _is_cell(feature: object) -> bool:
    return isinstance(feature, dict) and set(feature) == _CELL


def _strip_table(path: Path, target: Path) -> None:
    columns = pq.read_schema(path)
    features = _features(columns)
    parts = write_parts(
        (change_images(row, features, _without_metadata) for row in read_rows(path)),
        columns,
        lambda part: target,
        weigh=lambda row: row.nbytes,
        table=pa.concat_tables,
        part_bytes=float("inf"),
    )
    if not list(parts):
        pq.write_table(columns.empty_table(), target)


def _looked_at(cell: Cell, findings: Findings) -> Cell:
    if cell["bytes"] is not None:
        findings.look(cell["bytes"])
    return cell


def _without_metadata(cell: Cell) -> Cell:
    return cell if cell["bytes"] is None else {**cell, "bytes": stripped(cell["bytes"])}
