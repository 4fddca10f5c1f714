"""A unit of work: frames of one centre that make one shard, small enough to be written in one go by one process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.shards.output import STATE, placed
from meddel_hf.datadel.source import Item, Source
from meddel_hf.runtime.files import checksum, whole_file
from meddel_hf.runtime.manifest import fingerprint

UNSPECIFIED = "unspecified"  # folder of frames whose centre the files do not tell
_PACKAGES = ("meddel-hf", "pyarrow", "pillow", "tifffile", "numpy", "av", "imagehash")  # whose release can change bytes
_READING = 2  # goes up with every change of this package in what the same files give: older records then do not count
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
        return fingerprint(self.name, str(_READING), str(fps), *_versions(), *map(repr, self.items))


@cache
def _versions() -> tuple[str, ...]:
    return tuple(f"{name} {metadata.version(name)}" for name in _PACKAGES)


@dataclass(frozen=True)
class Shard:
    """One written file. path: its kind ("data" or "class_masks"), then its path below the folder of that kind.

    size: in bytes; xxh3: checksum of its content.
    """

    path: str
    rows: int
    size: int
    xxh3: str


@dataclass(frozen=True)
class Count:
    """Rows written of one part of a source, centre and label."""

    part: str
    center: str | None
    label: str | None
    rows: int


@dataclass(frozen=True)
class Record:
    """What became of a unit. class_masks: side tables; problems: what was kept out, and remarks on what was built.

    hashes: checksum of the file of perceptual hashes.
    """

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
    hashes: str

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
        try:
            facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            parts: dict[str, Any] = {"shards": Shard, "class_masks": Shard, "counts": Count, "problems": Problem}
            for name, kind in parts.items():
                facts[name] = tuple(kind(**each) for each in facts[name])
            return cls(**facts)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # damaged, or another release's
            return None

    def is_there(self, out: Path) -> bool:
        """Whether what was written is still what it was: every byte is read again."""
        files = [(placed(out, shard.path), shard.xxh3) for shard in (*self.shards, *self.class_masks)]
        files.append((hashes_path(out, self.unit), self.hashes))
        return all(path.is_file() and checksum(path) == xxh3 for path, xxh3 in files)


def record_path(out: Path, unit: str) -> Path:
    return out / STATE / f"{unit}.json"


def hashes_path(out: Path, unit: str) -> Path:
    """Parquet of the unit's ids and perceptual hashes."""
    return out / STATE / f"{unit}.hashes.parquet"


def plan(source: Source, read: Iterable[Item | Problem], tree: Tree) -> tuple[list[Unit], list[Problem]]:
    """Units of a source, the same for the same files; and what its reader keeps out.

    A frame that was met again, in another file, goes with the first as its copy; the very same file does not.
    """
    by_path: dict[str, list[Item]] = {}
    problems = []
    for each in read:
        if isinstance(each, Problem):
            problems.append(each)
        else:
            by_path.setdefault(each.path, []).append(each)
    ready = [_with_copies(met, tree) for met in by_path.values()]
    units = []
    folders = sorted({item.center or UNSPECIFIED for item in ready})
    for folder in folders:
        mine = [item for item in ready if (item.center or UNSPECIFIED) == folder]
        mine.sort(key=lambda item: (item.video, tree.order(item.image), item.path))
        units += [Unit(source.name, folder, number, group) for number, group in enumerate(_groups(mine))]
    return units, problems


def _with_copies(met: Sequence[Item], tree: Tree) -> Item:
    """The first of the files of one frame, with the others that are not the same file under another path."""
    different: dict[tuple[int, ...], Item] = {}
    for item in met:
        different.setdefault(tree.identity(item.image), item)
    first, *others = different.values()
    return replace(first, copies=tuple(others)) if others else first


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
