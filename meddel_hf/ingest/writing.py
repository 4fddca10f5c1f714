"""From items to rows, and from rows to Parquet files: a group of items at a time, in several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import xxhash

from meddel_hf import schema
from meddel_hf.data import parquet
from meddel_hf.data.decoding import decoding
from meddel_hf.data.findings import Findings
from meddel_hf.datadel.archives.entries import Container, Kind, Problem
from meddel_hf.errors import UnreadableArchive, UnreadableImage
from meddel_hf.ingest import dicom, nifti, pictures, slides, videos
from meddel_hf.ingest.files import Library
from meddel_hf.ingest.plan import Item
from meddel_hf.ingest.reading import Picture, Reading, Remark
from meddel_hf.runtime.files import checksum

_WORDS = [schema.LABEL, schema.SOURCE, schema.CENTER, schema.PATIENT, schema.VIDEO, schema.GROUP, schema.OFFICIAL_SPLIT,
          schema.FILE, schema.STUDY, schema.SERIES]  # fmt: skip
_COUNTED = (schema.CENTER, schema.LABEL, schema.PATIENT, schema.VIDEO, schema.GROUP)
_KEPT_OUT: Kind = "kept out"
_REMARK: Kind = "remark"


@dataclass(frozen=True)
class Group:
    """Items that one process reads in one go; their number in the plan."""

    number: int
    items: tuple[Item, ...]


@dataclass
class Written:
    """What became of a group: everything that its rows add up to.

    files: (path of a Parquet file, rows, checksum). ids: of the rows, with a digest of their image, 16 bytes.
    counts: column -> value -> rows.
    """

    number: int
    files: list[tuple[Path, int, str]] = field(default_factory=list)
    ids: list[tuple[str, bytes]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in _COUNTED})
    masks: int = 0
    empty_masks: int = 0
    used: int = 0  # files of which there is a row
    bare: list[str] = field(default_factory=list)  # ids of pictures without a mask
    series: bool = False
    metadata: Findings = field(default_factory=Findings)


class Writer:
    """Writes groups into a folder. One per process."""

    def __init__(
        self,
        roots: Sequence[Sequence[Container]],
        folder: Path,
        name: str,
        columns: pa.Schema,
        reading: Reading,
        key: bytes | None,
    ) -> None:
        self.members = Library(roots)
        self._folder, self._name, self._columns, self._reading, self._key = folder, name, columns, reading, key

    def write(self, group: Group) -> Written:
        """Write a group's rows, streamed."""
        written = Written(group.number)
        parts = parquet.write_parts(
            self._rows(group, written),
            self._columns,
            lambda part: self._folder / f"{group.number:06d}-{part:03d}.parquet",
            weigh=_weight,
            table=lambda rows: pa.Table.from_pylist(rows, self._columns),
            words=_WORDS,
        )
        written.files = [(path, rows, checksum(path)) for path, rows in parts]
        return written

    def _rows(self, group: Group, written: Written) -> Iterator[dict[str, Any]]:
        for item in group.items:
            rows = 0
            try:
                for each in _guarded(self._read(item)):
                    if isinstance(each, Remark):
                        written.problems.append(Problem(self._name, item.file.path, each.reason, "remark"))
                        continue
                    rows += 1
                    row = self._row(item, each)
                    self._count(written, row, item, each)
                    yield row
            except (UnreadableArchive, UnreadableImage) as error:
                reason, kind = str(error), _KEPT_OUT
                if rows:
                    first = "its first frame was" if rows == 1 else f"its first {rows:,} frames were"
                    reason, kind = f"only {first} taken: {error}", _REMARK
                written.problems.append(Problem(self._name, item.file.path, reason, kind))
            written.used += rows > 0

    def _read(self, item: Item) -> Iterator[Picture | Remark]:
        library, reading = self.members, self._reading
        match item.kind:
            case "picture":
                return pictures.frames(item.file, item.masks, library, reading)
            case "video":
                return videos.frames(item.file, library, reading)
            case "dicom":
                return dicom.frames(item.file, item.masks, library, reading, self._key)
            case "nifti":
                return nifti.frames(item.file, item.masks, library, reading)
            case "slide":
                return slides.frames(item.file, library, reading)

    def _row(self, item: Item, picture: Picture) -> dict[str, Any]:
        values = dict(item.values)
        series = dict(picture.series)
        id = "/".join(filter(None, (item.file.stem, picture.name)))
        name = PurePosixPath(id).name
        video = values.get(schema.VIDEO)
        if video is None and item.kind == "video":
            video = item.file.stem
        patient = values.get(schema.PATIENT) or series.get(schema.PATIENT)
        whole = item.file.stem if picture.name else None  # what has several pictures belongs together
        group = values.get(schema.GROUP) or patient or series.get(schema.STUDY) or video or whole
        row = {
            **values,
            schema.ID: id,
            schema.IMAGE: {"bytes": picture.data, "path": f"{name}{picture.suffix}"},
            schema.MASK: None if picture.mask is None else {"bytes": picture.mask, "path": f"{name}_mask.png"},
            schema.SOURCE: self._name,
            schema.PATIENT: patient,
            schema.VIDEO: video,
            schema.GROUP: group,
            schema.FILE: item.file.path,
            schema.FRAME: picture.number,
            schema.WIDTH: picture.width,
            schema.HEIGHT: picture.height,
            schema.STUDY: series.get(schema.STUDY),
            schema.SERIES: series.get(schema.SERIES),
        }
        return {column: row.get(column) for column in self._columns.names}

    def _count(self, written: Written, row: dict[str, Any], item: Item, picture: Picture) -> None:
        written.ids.append((row[schema.ID], xxhash.xxh3_128_digest(picture.data)))
        for column, counts in written.counts.items():
            if row[column] is not None:
                counts[row[column]] += 1
        written.masks += picture.mask is not None
        written.empty_masks += picture.empty
        written.series = written.series or bool(picture.series)
        if picture.mask is None and item.kind == "picture":
            written.bare.append(row[schema.ID])
        if item.kind == "picture":
            written.metadata.look(picture.data)


def _guarded(frames: Iterator[Picture | Remark]) -> Iterator[Picture | Remark]:
    """What a reader gives; whatever a damaged file makes it raise becomes UnreadableImage, with a reason."""
    while True:
        unread: UnreadableArchive | None = None
        each: Picture | Remark | None = None
        with decoding():
            try:
                each = next(frames, None)
            except UnreadableArchive as error:
                unread = error
        if unread is not None:
            raise unread
        if each is None:
            return
        yield each


def _weight(row: dict[str, Any]) -> int:
    return sum(len(row[name]["bytes"]) for name in (schema.IMAGE, schema.MASK) if row[name])
