"""A unit of work: frames of one centre that make one shard, small enough to be written in one go by one process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from meddel_hf import schema
from meddel_hf.datadel.entries import Problem, Tree
from meddel_hf.datadel.source import Item, Source
from meddel_hf.files import whole_file

STATE = ".build"  # records of finished units, so that a build goes on where it stopped; never published
UNSPECIFIED = "unspecified"  # folder of frames whose centre the files do not tell
_PACKAGES = ("meddel-hf", "pyarrow", "pillow", "tifffile", "numpy", "av", "imagehash")  # whose release can change bytes
UNIT_BYTES = 200_000_000  # of the archives' files; a shard holds about as much


@dataclass(frozen=True)
class Unit:
    """Items of one source and centre; folder: the centre's name."""

    source: str
    folder: str
    number: int
    items: tuple[Item, ...]

    @property
    def name(self) -> str:
        return f"{self.source}/{self.folder}/{self.number:05d}"

    def fingerprint(self, fps: float | None) -> str:
        """Changes with the files, how they are read, and the packages that turn them into bytes."""
        versions = (f"{name} {metadata.version(name)}" for name in _PACKAGES)
        return schema.fingerprint(self.name, str(fps), *versions, *map(repr, self.items))


@dataclass(frozen=True)
class Shard:
    """One written file. path: relative to the data set's folder; size in bytes."""

    path: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Count:
    """Rows written of one part of a source, centre and label."""

    part: str
    center: str | None
    label: str | None
    rows: int


@dataclass(frozen=True)
class Record:
    """What became of a unit. class_masks: side tables; problems: what was kept out."""

    unit: str
    source: str
    fingerprint: str
    shards: tuple[Shard, ...]
    class_masks: tuple[Shard, ...]
    counts: tuple[Count, ...]
    problems: tuple[Problem, ...]
    masks: int
    empty_masks: int
    boxes: int

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    def write(self, out: Path) -> None:
        path = record_path(out, self.unit)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as aside:
            aside.write_text(json.dumps(asdict(self), sort_keys=True), encoding="utf-8")

    @classmethod
    def read(cls, out: Path, unit: str) -> Record | None:
        """None where the unit is not finished."""
        path = record_path(out, unit)
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        parts: dict[str, Any] = {"shards": Shard, "class_masks": Shard, "counts": Count, "problems": Problem}
        for name, kind in parts.items():
            found[name] = tuple(kind(**each) for each in found[name])
        return cls(**found)

    def is_there(self, out: Path) -> bool:
        files = [(out / shard.path, shard.size) for shard in (*self.shards, *self.class_masks)]
        return hashes_path(out, self.unit).is_file() and all(p.is_file() and p.stat().st_size == n for p, n in files)


def record_path(out: Path, unit: str) -> Path:
    return out / STATE / f"{unit}.json"


def hashes_path(out: Path, unit: str) -> Path:
    """Parquet of the unit's ids and perceptual hashes."""
    return out / STATE / f"{unit}.hashes.parquet"


def plan(source: Source, found: Iterable[Item | Problem], tree: Tree) -> tuple[list[Unit], list[Problem]]:
    """Units of a source, the same for the same files; and what its reader, or a second file of an id, keeps out."""
    items: dict[str, Item] = {}
    problems = []
    for each in found:
        if isinstance(each, Problem):
            problems.append(each)
        elif each.path in items:
            first = items[each.path].image.path
            problems.append(Problem(source.name, each.image.path, f"second file of one id: it was built from {first}"))
        else:
            items[each.path] = each
    units = []
    folders = sorted({item.center or UNSPECIFIED for item in items.values()})
    for folder in folders:
        mine = [item for item in items.values() if (item.center or UNSPECIFIED) == folder]
        mine.sort(key=lambda item: (item.video, tree.order(item.image), item.path))
        units += [Unit(source.name, folder, number, group) for number, group in enumerate(_groups(mine))]
    return units, problems


def _groups(items: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
    """Runs of items up to UNIT_BYTES; a video is a group of its own."""
    group: list[Item] = []
    size = 0
    for item in items:
        weight = item.image.size + sum(mask.entry.size for mask in item.masks)
        if group and (item.video or size + weight > UNIT_BYTES):
            yield tuple(group)
            group, size = [], 0
        group.append(item)
        size += weight
    if group:
        yield tuple(group)
