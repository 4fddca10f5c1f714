"""From the owners' archives to a data set folder: `build` does what `meddel build` does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from meddel_hf import schema
from meddel_hf.datadel import leaks, preview
from meddel_hf.datadel.archives import scan
from meddel_hf.datadel.card import Facts, card, configs, kind_of, mismatches, rows_of
from meddel_hf.datadel.entries import Problem, Tree
from meddel_hf.datadel.layouts import IMAGES
from meddel_hf.datadel.members import Members
from meddel_hf.datadel.registry import SOURCES
from meddel_hf.datadel.rows import CLASS_MASKS, FEATURES
from meddel_hf.datadel.running import run
from meddel_hf.datadel.units import STATE, Record, Unit, plan
from meddel_hf.errors import InvalidArgument, InvalidDataset, UnreadableArchive
from meddel_hf.files import whole_file

REJECTED = "rejected.parquet"
_OURS = ("data", "class_masks", preview.FOLDER)
_PROBLEMS = pa.schema({"source": pa.string(), "path": pa.string(), "reason": pa.string()})
_SHOWN = 5


@dataclass(frozen=True)
class Build:
    """What a build made. missing: sources that were not found; unclaimed: folders with images that no source reads."""

    out: Path
    facts: Facts
    missing: tuple[str, ...]
    unclaimed: tuple[str, ...]
    reused: int

    def __str__(self) -> str:
        facts = self.facts
        lines = [f"{'configuration':<22}{'frames':>9}"]
        lines += [f"{name:<22}{count:>9,}" for name, count in rows_of(facts).items()]
        lines += self._differences()
        lines += self._kept_out()
        lines += [
            f"leaks: {sum(how.values()):,} frames of {a} also stand in {b} ({_how(how)})"
            for (a, b), how in sorted(leaks.counted(facts.leaks).items())
        ]
        for name in self.missing:
            lines.append(f"not found: {name}; get it from {SOURCES[name].home}: {SOURCES[name].archives}")
        if self.unclaimed:
            shown = ", ".join(self.unclaimed[:_SHOWN])
            lines.append(
                f"not read: {len(self.unclaimed):,} folders with images that no source claims, such as {shown}"
            )
        return "\n".join(lines)

    def _differences(self) -> list[str]:
        """Counts that were published otherwise; classes only by their number, since the card lists them."""
        lines = []
        classes: dict[str, int] = {}
        for source, published, found in mismatches(self.facts):
            if published.label is None:
                unsure = "" if published.sure == "verified" else f" ({published.sure})"
                counts = f"{found:,} frames found, {published.frames:,} published{unsure}"
                lines.append(f"differs: {source.name}, {published.of_what}: {counts}")
            else:
                classes[source.name] = classes.get(source.name, 0) + 1
        lines += [f"differs: {name}: {count} classes, listed in README.md" for name, count in classes.items()]
        return lines

    def _kept_out(self) -> list[str]:
        whole = [p for p in self.facts.problems if p.source is None]
        lines = [f"kept out: {p.path}: {p.reason}" for p in whole[:_SHOWN]]
        if len(whole) > _SHOWN:
            lines.append(f"kept out: {len(whole) - _SHOWN:,} more files that belong to no source, see {REJECTED}")
        kinds: dict[tuple[str, str], int] = {}
        for problem in self.facts.problems:
            if problem.source is not None:
                key = (problem.source, kind_of(problem.reason))
                kinds[key] = kinds.get(key, 0) + 1
        return lines + [f"kept out: {source}: {n:,} x {kind}" for (source, kind), n in sorted(kinds.items())]


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
    units, problems, claimed = _plan(tree, sources or tuple(SOURCES))
    if not units:
        raise InvalidDataset(_nothing(roots, tree, problems))
    _clean(out)
    records, reused = _written(units, tree, out, fps, workers or os.cpu_count() or 1, quiet)
    _drop_strangers(out, records)
    problems = [*tree.problems, *problems, *(p for record in records for p in record.problems)]
    _write_problems(problems, out)
    facts = Facts(records, problems, leaks.find(records, out), fps)
    if not facts.rows():
        raise InvalidDataset(f"no frame passed the checks: {out / REJECTED} lists {len(problems):,} files with reasons")
    leaks.write(facts.leaks, out)
    if previews:
        for name, patterns in configs(facts).items():
            preview.draw(name, sorted(path for pattern in patterns for path in out.glob(pattern)), out)
    _finish(facts, out)
    missing = tuple(name for name in sources or SOURCES if name not in {source.name for source in facts.sources})
    return Build(out, facts, missing, _unclaimed(tree, claimed), reused)


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
    if out.is_dir() and any(out.iterdir()) and not (out / STATE).is_dir():
        raise InvalidArgument(f"{out} is not empty and was not made by meddel build: name another folder")


def _plan(tree: Tree, names: Sequence[str]) -> tuple[list[Unit], list[Problem], set[str]]:
    """Units of all sources that are found, what is kept out already, and the folders that were read."""
    units: list[Unit] = []
    problems: list[Problem] = []
    claimed: set[str] = set()
    members = Members(tree.containers)
    try:
        for name in names:
            source = SOURCES[name]
            try:
                mine, odd = plan(source, source.read(tree, members.read), tree)
            except UnreadableArchive as error:
                problems.append(Problem(name, "", f"one of its tables {error}"))
                continue
            units += mine
            problems += odd
            for unit in mine:
                for item in unit.items:
                    claimed.update((item.image.folder, *(mask.entry.folder for mask in item.masks)))
            claimed.update(problem.path.rpartition("/")[0] for problem in odd)
    finally:
        members.close()
    return units, problems, claimed


def _written(
    units: list[Unit], tree: Tree, out: Path, fps: float | None, workers: int, quiet: bool
) -> tuple[list[Record], int]:
    """Records in the order of the units, and how many were finished before."""
    found: dict[str, Record] = {}
    for unit in units:
        record = Record.read(out, unit.name)
        if record is not None and record.fingerprint == unit.fingerprint(fps) and record.is_there(out):
            found[unit.name] = record
    reused = len(found)
    todo = [unit for unit in units if unit.name not in found]
    if todo:
        for name in ("README.md", schema.MANIFEST):  # a folder that is being changed is not a data set
            (out / name).unlink(missing_ok=True)
    arguments = (tree.containers, out, fps, FEATURES.arrow_schema, CLASS_MASKS.arrow_schema)
    with tqdm(total=sum(len(u.items) for u in todo), unit="file", disable=quiet, leave=False) as bar:
        sizes = {unit.name: len(unit.items) for unit in todo}
        for record in run(todo, workers, arguments):
            found[record.unit] = record
            bar.update(sizes[record.unit])
    return [found[unit.name] for unit in units], reused


def _clean(out: Path) -> None:
    """Remove what a killed build left half-written."""
    (out / STATE).mkdir(parents=True, exist_ok=True)
    for half in out.rglob(".*.part"):
        half.unlink() if half.is_file() else shutil.rmtree(half)


def _drop_strangers(out: Path, records: Sequence[Record]) -> None:
    """Remove shards and records of units that no longer are, and old pictures."""
    kept = {shard.path for record in records for shard in (*record.shards, *record.class_masks)}
    shutil.rmtree(out / preview.FOLDER, ignore_errors=True)
    for folder in _OURS:
        for path in sorted((out / folder).rglob("*.parquet")):
            if path.relative_to(out).as_posix() not in kept:
                path.unlink()
    units = {record.unit for record in records}
    for path in sorted((out / STATE).rglob("*.*")):
        name = path.relative_to(out / STATE).as_posix()
        if path.is_file() and name.removesuffix(".json").removesuffix(".hashes.parquet") not in units:
            path.unlink()
    for folder in (*_OURS, STATE):
        for path in sorted((out / folder).rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _write_problems(problems: Sequence[Problem], out: Path) -> None:
    rows = [{"source": p.source, "path": p.path, "reason": p.reason} for p in problems]
    with whole_file(out / REJECTED) as aside:
        pq.write_table(pa.Table.from_pylist(rows, _PROBLEMS), aside)


def _finish(facts: Facts, out: Path) -> None:
    """Card and manifest, last: they make the folder a data set."""
    with whole_file(out / "README.md") as aside:
        aside.write_text(card(facts), encoding="utf-8")
    shards = [shard for record in facts.records for shard in (*record.shards, *record.class_masks)]
    identity = schema.fingerprint("datadel", *(f"{shard.path} {shard.sha256}" for shard in shards))
    details = {
        "rows": facts.rows(),
        "sources": {source.name: facts.rows(source.name) for source in facts.sources},
        "configs": rows_of(facts),
        "rejected": len(facts.problems),
        "leaks": facts.leaks.num_rows,
    }
    schema.Manifest("datadel", identity, {"fps": facts.fps}, {}, details).write(out)


def _nothing(roots: Sequence[Path], tree: Tree, problems: Sequence[Problem]) -> str:
    found = "; ".join(f"{p.path}: {p.reason}" for p in [*tree.problems, *problems][:_SHOWN])
    where = ", ".join(map(str, roots))
    return (
        f"no source of DataDEL was found in {where}"
        + (f" ({found})" if found else "")
        + (": expected the owners' archives or folders under their own names, see `meddel build --help`")
    )


def _unclaimed(tree: Tree, claimed: set[str]) -> tuple[str, ...]:
    return tuple(
        folder
        for folder, entries in tree.folders.items()
        if folder not in claimed and any(entry.suffix in IMAGES for entry in entries)
    )


def _how(how: dict[str, int]) -> str:
    return ", ".join(f"{n:,} by {word}" for word, n in sorted(how.items()))
