"""Units to Parquet shards: streamed, each written whole or not at all, the same bytes every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from meddel_hf import schema
from meddel_hf.data import parquet
from meddel_hf.datadel.archives.entries import Container, Problem
from meddel_hf.datadel.archives.members import Members
from meddel_hf.datadel.convert.frame import HASH_BYTES, Baked, bake
from meddel_hf.datadel.registry import SOURCES
from meddel_hf.datadel.shards.output import CLASS_MASKS, DATA, STATE
from meddel_hf.datadel.shards.units import Count, Record, Shard, Unit, hashes_path
from meddel_hf.runtime.files import checksum, whole_file

SHARD_BYTES = parquet.PART_BYTES  # of images and masks
GROUP_ROWS = parquet.GROUP_ROWS
HASHES = pa.schema({schema.ID: pa.string(), "hash": pa.binary(HASH_BYTES)})
_WORDS = [schema.LABEL, schema.SOURCE, schema.CENTER, schema.GROUP, schema.OFFICIAL_SPLIT]


@dataclass
class Tally:
    """What a unit's rows add up to, gathered while they pass."""

    counts: Counter[tuple[str, str | None, str | None]] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    hashes: list[tuple[str, bytes | None]] = field(default_factory=list)
    by_class: list[dict[str, Any]] = field(default_factory=list)
    masks: int = 0
    empty_masks: int = 0
    boxes: int = 0

    def add(self, baked: Baked, part: str) -> None:
        row = baked.row
        self.counts[part, row[schema.CENTER], row[schema.LABEL]] += 1
        self.hashes.append((row[schema.ID], baked.perceptual))
        self.masks += row[schema.MASK] is not None
        self.empty_masks += baked.empty_mask
        self.boxes += len(row[schema.BOXES])
        self.by_class += [
            {schema.ID: row[schema.ID], schema.LABEL: label, schema.MASK: {"bytes": png, "path": None}}
            for label, png in baked.by_class
        ]


class UnitWriter:
    """Writes units of one build into its folder. One per process."""

    def __init__(
        self, containers: Sequence[Container], out: Path, fps: float | None, rows: pa.Schema, class_masks: pa.Schema
    ) -> None:
        self.out, self.fps, self.rows, self.class_masks = out, fps, rows, class_masks
        self.members = Members(containers)

    def write(self, unit: Unit) -> Record:
        """Write the unit's shards, and its record last."""
        tally = Tally()
        folder = f"{DATA}/{unit.source}/{unit.folder}"
        shards = self._shards(self._baked(unit, tally), self.rows, f"{folder}/train-{unit.number:05d}")
        name = f"{CLASS_MASKS}/{unit.source}/{unit.folder}-{unit.number:05d}"
        masks = self._shards(iter(tally.by_class), self.class_masks, name)
        hashes = hashes_path(self.out, unit.name)
        hashes.parent.mkdir(parents=True, exist_ok=True)
        ids, values = ([pair[k] for pair in tally.hashes] for k in (0, 1))
        with whole_file(hashes) as aside:
            pq.write_table(pa.table([ids, pa.array(values, HASHES.field("hash").type)], HASHES), aside)
        counts = sorted(tally.counts.items(), key=lambda each: tuple(word or "" for word in each[0]))
        record = Record(
            unit=unit.name,
            source=unit.source,
            fingerprint=unit.fingerprint(self.fps),
            shards=shards,
            class_masks=masks,
            counts=tuple(Count(*key, rows) for key, rows in counts),
            problems=tuple(tally.problems),
            masks=tally.masks,
            empty_masks=tally.empty_masks,
            boxes=tally.boxes,
            hashes=checksum(hashes),
        )
        record.write(self.out)
        return record

    def _baked(self, unit: Unit, tally: Tally) -> Iterator[dict[str, Any]]:
        source = SOURCES[unit.source]
        for item in unit.items:
            for baked in bake(item, source, self.members, self.fps):
                if isinstance(baked, Problem):
                    tally.problems.append(baked)
                else:
                    tally.add(baked, item.part)
                    yield baked.row

    def _shards(self, rows: Iterator[dict[str, Any]], columns: pa.Schema, name: str) -> tuple[Shard, ...]:
        state = self.out / STATE
        written = write_parts(rows, columns, lambda part: state / f"{name}-{part:03d}.parquet")
        return tuple(
            Shard(path.relative_to(state).as_posix(), count, path.stat().st_size, checksum(path))
            for path, count in written
        )


def write_parts(
    rows: Iterator[dict[str, Any]], columns: pa.Schema, name: Callable[[int], Path]
) -> Iterator[tuple[Path, int]]:
    """Write rows as they come into files of SHARD_BYTES at most; yields each file with its number of rows."""
    return parquet.write_parts(
        rows,
        columns,
        name,
        weigh=_weight,
        table=lambda group: pa.Table.from_pylist(group, columns),
        words=_WORDS,
        part_bytes=SHARD_BYTES,
        group_rows=GROUP_ROWS,
    )


def _weight(row: dict[str, Any]) -> int:
    return sum(len(row[name]["bytes"]) for name in (schema.IMAGE, schema.MASK) if row.get(name))
