"""Frames that stand in more than one source: by name where names tell, else by perceptual hash.

A benchmark that trains on one source and tests on another leaves these rows out: `in_source` is the tested one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meddel_hf import schema
from meddel_hf.data.leaks import FILE
from meddel_hf.datadel.convert.frame import HASH_BYTES
from meddel_hf.datadel.registry import SOURCES
from meddel_hf.datadel.shards.units import Record, hashes_path
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.tables import read_table

# Bits of 256. Measured on real frames: copies (PNG, JPEG of quality 50, half size, 352 x 352, 256 pixels) of 100
# Kvasir-SEG frames differ from them in 10 at most; frames of different sources here, 8 million pairs, in 34 at least.
MAX_DISTANCE = 20
_BLOCK = 2_000_000  # pairs compared at a time
COLUMNS = pa.schema(
    {
        schema.ID: pa.string(),
        schema.SOURCE: pa.string(),
        "in_source": pa.string(),
        "in_id": pa.string(),
        "how": pa.string(),  # name, or picture
        "distance": pa.int16(),  # bits of 256 by which the perceptual hashes differ; null where names tell
    }
)


@dataclass(frozen=True)
class Hashes:
    """Ids of a source, and their perceptual hashes as (n, 4) uint64; known: which rows have one."""

    ids: list[str]
    bits: np.ndarray
    known: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Hashes:
        table = read_table(path, [schema.ID, "hash"], cure="delete it, and build again")
        raw = table["hash"].to_pylist()
        bits = np.frombuffer(b"".join(value or bytes(HASH_BYTES) for value in raw), np.uint64)
        return cls(
            table[schema.ID].to_pylist(), bits.reshape(len(raw), -1), np.array([v is not None for v in raw], bool)
        )


@dataclass(frozen=True)
class _Units:
    """Source and hashes of one unit after another, read anew each time: never all in memory."""

    records: Sequence[Record]
    out: Path

    def __iter__(self) -> Iterator[tuple[str, Hashes]]:
        for record in self.records:
            if record.rows:
                yield record.source, Hashes.read(hashes_path(self.out, record.unit))


def find(records: Sequence[Record], out: Path) -> pa.Table:
    """One row for every frame of a source and other source it also stands in: the nearest frame there.

    A frame of a downstream source is looked for in every other source; frames of two pre-training sources are not
    compared by picture. Memory is bounded by the downstream sources and one unit.
    """
    units = _Units(records, out)
    stems = _stems(units)
    rows: dict[tuple[str, str], tuple[str, str, int | None]] = {}
    for (id, source), known in _by_name(units, stems):
        rows[id, source] = (known, "name", None)
    targets = _targets(units)
    for source, hashes in units:
        for other, target in targets.items():
            if other != source:
                for id, in_id, distance in nearest(hashes, target):
                    rows.setdefault((id, other), (in_id, "picture", distance))
    listed = [(id, id.partition("/")[0], other, *known) for (id, other), known in sorted(rows.items())]
    return pa.Table.from_pylist([dict(zip(COLUMNS.names, row, strict=True)) for row in listed], COLUMNS)


def nearest(hashes: Hashes, target: Hashes) -> Iterator[tuple[str, str, int]]:
    """(id, id of the nearest frame of target, distance in bits) of the rows within MAX_DISTANCE."""
    rows, columns = np.flatnonzero(hashes.known), np.flatnonzero(target.known)
    if not len(rows) or not len(columns):
        return
    step = max(1, _BLOCK // len(columns))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        distance = np.zeros((len(block), len(columns)), np.uint16)
        for word in range(hashes.bits.shape[1]):
            differ = hashes.bits[block, word, None] ^ target.bits[None, columns, word]
            distance += np.bitwise_count(differ)
        best = distance.argmin(axis=1)
        for k in np.flatnonzero(distance[np.arange(len(block)), best] <= MAX_DISTANCE):
            yield hashes.ids[block[k]], target.ids[columns[best[k]]], int(distance[k, best[k]])


def write(table: pa.Table, out: Path) -> None:
    with whole_file(out / FILE) as aside:
        pq.write_table(table, aside)


def counted(table: pa.Table) -> dict[tuple[str, str], Counter[str]]:
    """(source, in_source) -> how -> frames."""
    shared: dict[tuple[str, str], Counter[str]] = {}
    for source, other, how in zip(*(table[name].to_pylist() for name in ("source", "in_source", "how")), strict=True):
        shared.setdefault((source, other), Counter())[how] += 1
    return shared


def _targets(units: _Units) -> dict[str, Hashes]:
    """Hashes of each downstream source, whole."""
    by_id: dict[str, Hashes] = {}
    for name in sorted({r.source for r in units.records if r.rows and SOURCES[r.source].role == "downstream"}):
        only = _Units([record for record in units.records if record.source == name], units.out)
        mine = [hashes for _, hashes in only]
        ids = [id for hashes in mine for id in hashes.ids]
        by_id[name] = Hashes(ids, np.concatenate([h.bits for h in mine]), np.concatenate([h.known for h in mine]))
    return by_id


def _stems(units: _Units) -> dict[str, dict[str, list[str]]]:
    """Of the sources that an overlap by name leads to: ids by file name."""
    built = {record.source for record in units.records}
    wanted = {o.source for name in built for o in SOURCES[name].overlaps if o.by_name}
    by_source: dict[str, dict[str, list[str]]] = {name: {} for name in wanted}
    for source, hashes in units:
        if source in wanted:
            for id in filter(_tells, hashes.ids):
                by_source[source].setdefault(PurePosixPath(id).name, []).append(id)
    return by_source


def _by_name(units: _Units, stems: Mapping[str, Mapping[str, list[str]]]) -> Iterator[tuple[tuple[str, str], str]]:
    for source, hashes in units:
        for overlap in SOURCES[source].overlaps:
            if overlap.by_name:
                for id in filter(_tells, hashes.ids):
                    others = [other for other in stems[overlap.source].get(PurePosixPath(id).name, ()) if other != id]
                    if others:
                        yield (id, overlap.source), others[0]


def _tells(id: str) -> bool:
    """Whether a file name is one frame's alone: numbers, as of a video's frames, are not."""
    return not PurePosixPath(id).name.isdigit()
