"""From the owners' archives to a data set folder: `build` does what `meddel build` does."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from meddel_hf.data.leaks import FILE as LEAKS
from meddel_hf.datadel import leaks, preview
from meddel_hf.datadel import problems as listing
from meddel_hf.datadel.archives.entries import Entry, Problem, Tree
from meddel_hf.datadel.archives.members import Members
from meddel_hf.datadel.archives.scan import scan
from meddel_hf.datadel.card import Facts, card, configs, rows_of
from meddel_hf.datadel.features import CLASS_MASKS, FEATURES
from meddel_hf.datadel.registry import SOURCES
from meddel_hf.datadel.shards import output
from meddel_hf.datadel.shards.output import KINDS, REJECTED, STATE, folder_of, placed
from meddel_hf.datadel.shards.units import Record, Unit, hashes_path, plan, record_path
from meddel_hf.datadel.shards.workers import run
from meddel_hf.datadel.shards.writer import UnitWriter
from meddel_hf.datadel.source import Item
from meddel_hf.datadel.summary import Build
from meddel_hf.errors import InvalidArgument, InvalidDataset, UnreadableArchive
from meddel_hf.runtime.files import MANIFEST, check_can_write, is_vacant, whole_file
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.records import recorded_files
from meddel_hf.runtime.words import plural

_SHOWN = 5


def build(
    raw: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    sources: Sequence[str] | None = None,
    fps: float | None = None,
    workers: int | None = None,
    previews: bool = False,
    quiet: bool = True,
) -> Build:
    """Build every source that is found below `raw` into the folder `out`, which `load_dataset` opens.

    raw:     folders or archives; they are only read.
    sources: build these only; default: all that are found.
    fps:     frames per second of videos; None leaves videos out, which are then listed as rejected.
    workers: processes; default: one for each processor.

    A build that was stopped goes on where it stopped; the same files give the same bytes. Raises InvalidArgument where
    an option does not fit or `out` is somebody else's folder, InvalidDataset where no source is found.
    """
    roots = [Path(each) for each in ([raw] if isinstance(raw, (str, Path)) else raw)]
    out = Path(out)
    fps = None if fps is None else float(fps)  # 2 and 2.0 are one rate, in fingerprints too
    _check(out, sources, fps, workers)
    tree = scan(roots, leave_out=out)
    units, problems = _plan(tree, sources or tuple(SOURCES))
    if not units:
        raise InvalidDataset(_nothing(roots, [*tree.problems, *problems]))
    (out / STATE).mkdir(parents=True, exist_ok=True)
    with _alone(out):
        return _build(tree, units, problems, sources, out, fps, workers or os.cpu_count() or 1, previews, quiet)


def _build(
    tree: Tree,
    units: list[Unit],
    problems: list[Problem],
    sources: Sequence[str] | None,
    out: Path,
    fps: float | None,
    workers: int,
    previews: bool,
    quiet: bool,
) -> Build:
    _clean(out)
    records, reused = _written(units, tree, out, fps, workers, quiet)
    problems = [*tree.problems, *problems, *(problem for record in records for problem in record.problems)]
    facts = Facts(records, problems, leaks.find(records, out), fps)
    if not facts.rows():
        listing.write(problems, out)
        kept_out = len(facts.of_kind("kept out"))
        raise InvalidDataset(
            f"no frame passed the checks: {out / REJECTED} lists {plural(kept_out, 'file')} with reasons"
        )
    (out / MANIFEST).unlink(missing_ok=True)  # it records the files that are written now
    output.finish(out, facts.names)
    listing.write(problems, out)
    leaks.write(facts.leaks, out)
    shutil.rmtree(out / preview.FOLDER, ignore_errors=True)
    if previews:
        for name, patterns in configs(facts).items():
            preview.draw(name, sorted(path for pattern in patterns for path in out.glob(pattern)), out)
    _finish(facts, out)
    missing = tuple(name for name in sources or SOURCES if name not in {source.name for source in facts.sources})
    return Build(out, facts, missing, reused)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One build at a time writes to a folder; the system frees the lock of a killed one."""
    try:
        with FileLock(out / STATE / "lock", timeout=0):
            yield
    except Timeout:
        raise InvalidArgument(f"another build is writing to {out}: wait for it, or name another folder") from None


def _check(out: Path, sources: Sequence[str] | None, fps: float | None, workers: int | None) -> None:
    unknown = [name for name in sources or () if name not in SOURCES]
    if unknown:
        raise InvalidArgument(f"unknown source {unknown[0]!r}: choose from {', '.join(SOURCES)}")
    if fps is not None and not 0 < fps <= 1000:
        raise InvalidArgument(f"fps must be above 0 and at most 1000 frames per second, got {fps}")
    if workers is not None and workers < 1:
        raise InvalidArgument(f"workers must be at least 1, got {workers}")
    if out.exists() and not out.is_dir():
        raise InvalidArgument(f"{out} is a file: name a folder to write to")
    if not is_vacant(out) and not (out / STATE).is_dir():
        raise InvalidArgument(f"{out} is not empty and was not made by meddel build: name another folder")
    check_can_write(out)


def _plan(tree: Tree, names: Sequence[str]) -> tuple[list[Unit], list[Problem]]:
    """Units of all sources that are found, and what is kept out or not read already."""
    units: list[Unit] = []
    problems: list[Problem] = []
    claimed: set[tuple[int, ...]] = set()
    members = Members(tree.containers)
    try:
        for name in names:
            source = SOURCES[name]
            reader = _Tables(name, tree, members, problems, claimed)
            try:
                items = [each for each in source.read(tree, reader) if not reader.has_told(each)]
            except (csv.Error, RecursionError) as error:
                problems.append(Problem(name, reader.last, f"no frame of {name} was built: a damaged table: {error}"))
                continue
            claimed.update(tree.identity(file) for each in items if isinstance(each, Item) for file in each.files)
            mine, odd = plan(source, items, tree)
            units += mine
            problems += odd
    finally:
        members.close()
    listed = {problem.path for problem in problems}
    return units, [*problems, *(p for p in listing.not_read(tree, claimed) if p.path not in listed)]


@dataclass
class _Tables:
    """Reads the tables of a source, and notes those that cannot be read: its frames are built without them."""

    source: str
    tree: Tree
    members: Members
    problems: list[Problem]
    claimed: set[tuple[int, ...]]
    last: str = ""
    failed: set[str] = field(default_factory=set)

    def has_told(self, each: Item | Problem) -> bool:
        """Whether it is about a table that could not be read."""
        return isinstance(each, Problem) and each.path in self.failed

    def __call__(self, entry: Entry) -> bytes:
        self.last = entry.path
        self.claimed.add(self.tree.identity(entry))
        try:
            return self.members.read(entry)
        except UnreadableArchive as error:
            self.failed.add(entry.path)
            self.problems.append(Problem(self.source, entry.path, f"frames were built without this table: {error}"))
            return b""


def _written(
    units: list[Unit], tree: Tree, out: Path, fps: float | None, workers: int, quiet: bool
) -> tuple[list[Record], int]:
    """Records in the order of the units, and how many were finished before."""
    records: dict[str, Record] = {}
    for unit in units:
        record = Record.read(out, unit.name)
        if record is not None and record.fingerprint == unit.fingerprint(fps) and record.is_there(out):
            records[unit.name] = record
    reused = len(records)
    todo = [unit for unit in units if unit.name not in records]
    strangers = _strangers(out, list(records.values()))
    if todo or strangers or output.is_open(out):
        output.open_again(out)
    _drop(_strangers(out, list(records.values())), out)
    arguments = (tree.containers, out, fps, FEATURES.arrow_schema, CLASS_MASKS.arrow_schema)
    sizes = {unit.name: len(unit.items) for unit in todo}
    try:
        with tqdm(total=sum(sizes.values()), unit="file", disable=quiet, leave=False) as bar:
            for record in run(todo, workers, UnitWriter, arguments):
                records[record.unit] = record
                bar.update(sizes[record.unit])
    except BaseException:
        _clean(out)
        raise
    return [records[unit.name] for unit in units], reused


def _clean(out: Path) -> None:
    """Remove what a killed build left half-written."""
    for half in out.rglob(".*.part"):
        half.unlink() if half.is_file() else shutil.rmtree(half)


def _strangers(out: Path, records: Sequence[Record]) -> list[Path]:
    """Shards and records of units that are no more, or are to be written again."""
    kept = {placed(out, shard.path) for record in records for shard in (*record.shards, *record.class_masks)}
    kept |= {path for record in records for path in (record_path(out, record.unit), hashes_path(out, record.unit))}
    folders = [*(folder_of(out, kind) for kind in KINDS), out / STATE]
    files = {path for folder in folders for path in folder.rglob("*.*") if path.is_file()}
    return sorted(files - kept)


def _drop(strangers: Sequence[Path], out: Path) -> None:
    """Remove files, and the folders that they leave empty."""
    for path in strangers:
        path.unlink()
    for folder in (*(folder_of(out, kind) for kind in KINDS), out / STATE):
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        if folder != out / STATE and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _finish(facts: Facts, out: Path) -> None:
    """Card and manifest, last: they make the folder a data set."""
    with whole_file(out / "README.md") as aside:
        aside.write_text(card(facts), encoding="utf-8")
    files = {facts.names[shard.path]: {"bytes": shard.size, "xxh3": shard.xxh3} for shard in facts.shards}
    details = {
        "rows": facts.rows(),
        "sources": {source.name: facts.rows(source.name) for source in facts.sources},
        "configs": rows_of(facts),
        "rejected": len(facts.of_kind("kept out")),
        "remarks": len(facts.of_kind("remark")),
        "not_read": len(facts.of_kind("not read")),
        "empty_masks": {source.name: facts.annotated(source.name)[1] for source in facts.sources},
        "leaks": facts.leaks.num_rows,
    }
    files |= recorded_files(out, [REJECTED, LEAKS])
    Manifest("datadel", facts.identity, {"fps": facts.fps}, {}, details, files=files).write(out)


def _nothing(roots: Sequence[Path], problems: Sequence[Problem]) -> str:
    kept_out = "; ".join(f"{p.path}: {p.reason}" for p in [p for p in problems if p.kind == "kept out"][:_SHOWN])
    where = ", ".join(map(str, roots))
    return (
        f"no source of DataDEL was found in {where}"
        + (f" ({kept_out})" if kept_out else "")
        + (": expected the owners' archives or folders under their own names, see `meddel build --help`")
    )
