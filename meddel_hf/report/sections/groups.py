"""Videos, sequences and patients: what was left out of the pool for them, and whether test sets share one with it."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf import schema
from meddel_hf.benchmark.left_out import counted
from meddel_hf.benchmark.results import Runs, Target
from meddel_hf.report.document import Block, Paragraph, Point, listed
from meddel_hf.runtime.reading import some_of
from meddel_hf.runtime.words import plural


def left_out(runs: Runs) -> list[Point]:
    """One line on what was left out of the pool; none where nothing was, or the runs do not tell."""
    if runs.excluded is None or not (counts := counted(runs.excluded)):
        return []
    return [Point("Left out of the pool:", f"{listed([f'{n:,} {words}' for words, n in counts.items()])}.")]


def tested_groups(runs: Runs) -> list[Point]:
    """One line on how many videos or patients each test set has, and the pool; none where no test set names one."""
    counts = {_name(target): len(names) for target, names in _named(runs)}
    if not any(counts.values()):
        return []
    parts = [f"{name} {count:,}" for name, count in counts.items() if count]
    pool = len(_of_pool(runs))
    parts += [f"the pool {pool:,}"] if pool else []
    none = [name for name, count in counts.items() if not count] + ["the pool"] * (not pool)
    unnamed = f"; not named: {listed(none)}" if none else ""
    return [Point("Videos, sequences or patients:", f"{listed(parts)}{unnamed}. No split parts one.")]


def shared_groups(runs: Runs) -> list[Block]:
    """A warning for each test set that has a video or patient called as one of the pool is."""
    pool, warnings = _of_pool(runs), []
    for target, names in _named(runs):
        if both := sorted(names & pool):
            what = plural(len(both), "video, sequence or patient", "videos, sequences or patients")
            warnings.append(
                f"{_name(target)} has {what} called as in the pool ({some_of(both)}), of another source: where it is "
                "the same, its frames were pre-trained on. Give both sources one name, and it is left out."
            )
    return [Paragraph(text, "warning") for text in warnings]


def _name(target: Target) -> str:
    return target.task if target.series else target.name


def _named(runs: Runs) -> Iterator[tuple[Target, set[str]]]:
    """Each test set, once for all its measures, and its groups; a frame without one is called by its own id."""
    seen = set()
    for target in runs.targets:
        cell = next(cell for cell in runs.cells if target.task in cell.scores)
        table = cell.scores[target.task].of(target.set).table
        frames = tuple(zip(table[schema.ID].to_pylist(), table[schema.GROUP].to_pylist(), strict=True))
        if frames not in seen:
            seen.add(frames)
            yield target, {group for id, group in frames if group != id}


def _of_pool(runs: Runs) -> set[str]:
    if runs.pool is None or schema.GROUP not in runs.pool.column_names:
        return set()
    return set(runs.pool[schema.GROUP].drop_null().unique().to_pylist())
