"""A pool larger than memory: read in blocks, clustered, regrouped in a scratch file, and answered for piece by piece.

The answer is that of `Search.among`, whatever the memory: assignments and cosines are exact, and sums run over blocks
of the same rows. The pool is read three times (what its rows are, clusters, regrouping) besides the rows that train
centroids, and the scratch file once for every threshold that is tried, and once to name who stands for whom.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.sampling import measured
from meddel_hf.dedup.scratch import Pieces, Scratch
from meddel_hf.dedup.scratch_engine import ScratchEngine
from meddel_hf.dedup.search import Grouping, Settings, clusters_for, clusters_rows, groups_of, keep_key, outliers
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.clustering import Draw, distance, sampled, trained
from meddel_hf.neighbors.cosines import BLOCK, Rows, Vectors, nearest
from meddel_hf.neighbors.row_source import RowSource, blocks_of
from meddel_hf.neighbors.unit_rows import MeanSubtracted, Survey
from meddel_hf.runtime.free_memory import AUTO, within_reach_of
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.shared_work import Arrays, digest_of, in_parts, shared_work
from meddel_hf.runtime.sizes import bytes_of, written

_OF_WHAT_IS_FREE = 0.8
# Bytes; measured by benchmarks/bench_memory.py.
_PROGRAM = 800 * 10**6  # Python, torch, and the tiles that threads compute at once
_OF_A_ROW = 64  # its number, place, cluster, cosine and the like, while rows are searched
_OF_A_TABLE_ROW = 250  # of the selection's table, with ids of usual lengths, beside what was decided
_OF_A_NUMBER = (
    6  # of an embedding in work: of length 1, and in bfloat16; besides as given, and as it stands in the file
)
_LARGEST_PIECE = 512 * 10**6  # more at once is not quicker
_LEAST_PIECE = 1024  # rows


@dataclass(frozen=True)
class Room:
    """What there is for a pool that is read in parts.

    memory:  bytes. scratch: folder for a file as large as the pool; None for the system's (TMPDIR).
    held:    bytes of the memory that are taken already, beside the program's.
    """

    memory: int
    scratch: Path | None = None
    held: int = 0

    @classmethod
    def of(cls, memory: str | int | None, scratch: str | Path | None = None) -> Room | None:
        """memory: a size such as "4GB"; "auto" for most of what is free; None for no bound, which is no room."""
        if memory is None:
            return None
        most = within_reach_of(_OF_WHAT_IS_FREE) if memory == AUTO else bytes_of(memory)
        return cls(most, None if scratch is None else Path(scratch))

    def needed(self, source: RowSource, *, draws: bool = False) -> int:
        """Bytes, at most, that selecting from a pool takes without any of this.

        draws: a second step draws from what the first one left, all of it perhaps, which is then in memory beside it.
        """
        in_work = _bytes_in_work(source) * (3 if draws else 2) // 2
        return self.held + _PROGRAM + source.shape[0] * (in_work + _OF_A_ROW + _OF_A_TABLE_ROW)

    def fits(self, source: RowSource, *, draws: bool = False) -> bool:
        """Whether a pool is selected from in this memory without any of this."""
        return self.needed(source, draws=draws) <= self.memory

    def beside(self, rows: int) -> Room:
        """What is left of it while so many rows are searched."""
        return replace(self, held=self.held + rows * _OF_A_ROW)


def differs(memory: str | int | None) -> bool:
    """Whether each of several processes would find another one: those that share their work cut it by the memory."""
    return memory == AUTO and shared_work() is not None


@dataclass(frozen=True)
class Plan:
    """rows: that are in memory at once, besides those that train centroids."""

    rows: int

    @classmethod
    def within(cls, room: Room, source: RowSource, clusters: int) -> Plan:
        """clusters: 0 for none. Raises InvalidArgument where there is too little memory."""
        (n, d), of_a_row, held = source.shape, _bytes_in_work(source), room.held + _PROGRAM
        trains = min(n, sampled(clusters)) * of_a_row
        left = room.memory - held - n * _OF_A_ROW
        least = max(trains, min(n, _LEAST_PIECE) * of_a_row)
        needed = held + max(n * _OF_A_ROW + least, n * _OF_A_TABLE_ROW)
        if room.memory < needed:
            cure = f"; or ask MedDEL for fewer clusters than {clusters:,} (n_clusters)" if 4 * trains > needed else ""
            raise InvalidArgument(
                f"{n:,} embeddings of {d} numbers need {written(needed)} of memory, got {written(room.memory)}: give "
                f"so much{cure}"
            )
        rows = min(left * 2 // 3, _LARGEST_PIECE) // of_a_row  # a third is for what is looked at exactly
        return cls(max(_LEAST_PIECE, rows))


def _bytes_in_work(source: RowSource) -> int:
    """Of one row."""
    return source.shape[1] * (_OF_A_NUMBER + source.dtype.itemsize + source.stored.itemsize)


@dataclass(frozen=True, eq=False)
class SearchInParts(Grouping):
    """What was found among rows of a source. rows_at_once: of it, held in memory."""

    source: RowSource
    rows_at_once: int

    def nearest(self, goes: Rows, stays: Rows) -> tuple[Rows, NDArray[np.float32]]:
        return nearest_among(self.source, goes, stays, self.rows_at_once)


@contextmanager
def grouped(
    settings: Settings,
    source: RowSource,
    pool: int,
    room: Room,
    name: Callable[[int], str],
    largest: Rows | None = None,
) -> Iterator[SearchInParts]:
    """What `Search.among` all rows finds; its engine answers as long as the block runs.

    name: id of a row. largest: as of `keep_key`.
    Raises what `Search.among` and `Readable.vectors` raise; InvalidArgument too where memory or disk are too little.
    """
    n = source.shape[0]
    clusters = clusters_for(settings, pool, n) if clusters_rows(settings) else 0
    plan = Plan.within(room, source, clusters)
    survey = Survey.of(source, plan.rows, name, sums=settings.subtract_mean or settings.scope == "pool")
    if settings.subtract_mean:
        source = MeanSubtracted(source, survey.mean)
        survey = Survey.of(source, plan.rows, name, sums=settings.scope == "pool")
    outlier, labels, distances = np.zeros(n, bool), None, None
    if clusters:
        labels, cosine = _clustered(source, survey, clusters, settings.seed, plan.rows)
        distances = distance(cosine)
        outlier = outliers(settings, distances)
    left = np.flatnonzero(~outlier)
    key = keep_key(settings, n, left, distances, lambda: to_mean(source, survey, plan.rows)[left], largest)
    groups = groups_of(settings, left, key, labels)
    sizes = list(map(len, groups))
    pieces = Pieces.of(sizes, plan.rows)
    with _regrouped(source, np.concatenate(groups), pieces, plan.rows, room.scratch) as rows:
        sample = measured(
            sizes, lambda at, part: _tile(rows, at, part), source.shape[1],
            lambda: digest_of(np.concatenate(groups), sizes),
        )  # fmt: skip
        engine = ScratchEngine(rows, n, groups, pieces)
        found = outlier, groups, labels, distances, engine, sample, None
        yield SearchInParts(settings, pool, *found, source, plan.rows)


def nearest_kept_of_all(
    source: RowSource, subtract_mean: bool, goes: Rows, stays: Rows, room: Room, name: Callable[[int], str]
) -> tuple[Rows, NDArray[np.float32]]:
    """As `Grouping.nearest`, of rows of a source. Raises as `grouped` does."""
    plan = Plan.within(room, source, 0)
    if subtract_mean:
        source = MeanSubtracted(source, Survey.of(source, plan.rows, name).mean)
    return nearest_among(source, goes, stays, plan.rows)


def nearest_among(
    source: RowSource, goes: Rows, stays: Rows, rows_at_once: int, floor: NDArray[np.float32] | None = None
) -> tuple[Rows, NDArray[np.float32]]:
    """As `Grouping.nearest`, of rows of a source in any order (equals: the earlier of `stays`).

    floor: (len(goes),); a row whose greatest cosine does not exceed it answers any row and the floor.
    """
    some = max(1, rows_at_once // 3)  # rows of either side, and room for those that were read before

    def answer(asked: slice) -> Arrays:
        rows = goes[asked]
        where = np.zeros(len(rows), np.int64)
        best = np.full(len(rows), -2, np.float32) if floor is None else floor[asked].copy()

        def look(part: slice, those: Rows, others: Vectors, cols: Rows) -> None:
            vectors, here = _taken(source, rows[part])
            near, value = nearest(vectors, here, others, cols, best[part])
            better = value > best[part]
            where[part][better], best[part][better] = those[near[better]], value[better]

        def look_among(those: Rows, bar: tqdm) -> None:
            others, cols = _taken(source, those)
            for first in range(0, len(rows), some):
                look(slice(first, first + some), those, others, cols)  # whose rows are gone before the next are read
                bar.update(min(some, len(rows) - first))

        slabs = [stays[start : start + some] for start in range(0, len(stays), some)]
        with tqdm(total=len(slabs) * len(rows), desc="nearest", unit="row", delay=5, leave=False) as bar:
            for those in slabs:
                look_among(those, bar)
        return {"where": where, "best": best}

    def question() -> str:
        kind = isinstance(source, MeanSubtracted)
        return digest_of("nearest among", source.shape, kind, goes, stays, "" if floor is None else floor)

    cost = float(len(stays)) * source.shape[1]
    found = in_parts("nearest kept", question, len(goes), cost, answer, some)
    return found["where"], found["best"]


def _taken(source: RowSource, rows: Rows) -> tuple[Vectors, Rows]:
    """Rows in any order, ready for cosines, and the place of each among them."""
    ascending = np.argsort(rows, kind="stable")
    place = np.empty(len(rows), np.int64)
    place[ascending] = np.arange(len(rows))
    return Vectors.prepare(source.take(rows[ascending])), place


@contextmanager
def _regrouped(
    source: RowSource, order: Rows, pieces: Pieces, rows_at_once: int, folder: Path | None
) -> Iterator[Scratch]:
    """The scratch file; of processes that share their work each writes a part of it."""
    work = shared_work()
    if work is not None:
        yield Scratch.shared(work, source, order, pieces, rows_at_once)
        return
    with Scratch.of(source, order, pieces, rows_at_once, folder or Path(tempfile.gettempdir())) as rows:
        yield rows


def _clustered(
    source: RowSource, survey: Survey, clusters: int, seed: int, rows_at_once: int
) -> tuple[Rows, NDArray[np.float32]]:
    """Cluster of every row and cosine to its centroid, as `clustering.cluster` finds them."""
    n = source.shape[0]
    draw = Draw.among(n, clusters, seed)
    sample = Vectors.prepare(source.take(draw.sample))
    first = np.searchsorted(draw.sample, draw.first)
    centroids = trained(sample, first, survey.unit(sample.base))
    del sample
    return _nearest_of_each(source, centroids, rows_at_once)


def to_mean(source: RowSource, survey: Survey, rows_at_once: int) -> NDArray[np.float32]:
    """Cosine of every row to the mean direction, as `cosines.cosine_to_mean` has it."""
    if np.linalg.norm(survey.direction_sum) < 1e-6:
        return np.zeros(source.shape[0], np.float32)
    return _nearest_of_each(source, Vectors.prepare(survey.direction_sum[None]), rows_at_once)[1]


def _nearest_of_each(source: RowSource, few: Vectors, rows_at_once: int) -> tuple[Rows, NDArray[np.float32]]:
    """Of every row of the source: which of a few vectors is nearest, and the cosine to it."""
    (n, dim), everywhere = source.shape, np.arange(len(few))

    def answer(asked: slice) -> Arrays:
        label = np.empty(asked.stop - asked.start, np.int64)
        cosine = np.empty(len(label), np.float32)
        for start, stop in blocks_of(len(label), rows_at_once):
            rows = Vectors.prepare(source.read(asked.start + start, asked.start + stop), copy=False)
            label[start:stop], cosine[start:stop] = nearest(rows, np.arange(len(rows)), few, everywhere)
        return {"label": label, "cosine": cosine}

    def question() -> str:
        return digest_of("nearest of each", source.shape, few.digest)

    found = in_parts("assigning", question, n, float(len(few)) * dim, answer, BLOCK)
    return found["label"], found["cosine"]


def _tile(rows: Scratch, at: Rows, part: slice) -> NDArray[np.float32]:
    """Exact cosines of the rows at some places with those of a range of places."""
    left = Vectors.prepare(rows.take(at), screen="float32")
    right = Vectors.prepare(rows.read(part.start, part.stop), screen="float32")
    return left.exact_tile(np.arange(len(at)), right, np.arange(len(right)))
