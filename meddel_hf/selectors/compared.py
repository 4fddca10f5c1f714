"""Rows of a pool as an extension compares them: all in memory, or read from their store when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.block_engine import BlockEngine
from meddel_hf.dedup.larger_than_memory import Plan, Room, nearest_among, to_mean
from meddel_hf.neighbors.cosines import BLOCK, Rows, Vectors, cosine_to_mean, nearest
from meddel_hf.neighbors.row_source import RowSource, blocks_of
from meddel_hf.neighbors.unit_rows import MeanSubtracted, Survey
from meddel_hf.selectors.protocol import InParts, PoolRows

_SUMMED = 16 * BLOCK  # rows whose directions are summed up at once: the same for both, since sums are rounded


class Compared(Protocol):
    """Rows are numbers among the readable ones, in any order."""

    def in_groups(self, groups: Iterable[Rows]) -> Iterator[tuple[Rows, Compared]]:
        """Each group, rows ascending, with what is ready to be asked about its rows again and again."""

    def nearest(self, rows: Rows, among: Rows, floor: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
        """Of each of `rows` the row of `among` of greatest cosine (equals: the earlier there), and that cosine; where
        it does not exceed the floor, any row and the floor."""

    def nearest_of(self, rows: Rows, few: Vectors) -> tuple[Rows, NDArray[np.float32]]:
        """Of each of `rows`, ascending, the place of the nearest of other vectors, and the cosine."""

    def cosines(self, rows: Rows, others: Rows) -> NDArray[np.float32]:
        """Of each pair, (len(rows),)."""

    def greedy(self, order: Rows, eta: float) -> NDArray[np.bool_]:
        """(len(order),) who stays by the greedy rule."""

    @property
    def to_mean(self) -> NDArray[np.float32]:
        """Cosine of every row to the mean direction of all, (n,)."""

    def unit_blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(first row, rows at length 1) of one block of _SUMMED rows after another."""


def compared(rows: PoolRows, subtract_mean: bool) -> Compared:
    """rows: with embeddings, in memory or in parts. Raises what `Readable.vectors` raises."""
    if not isinstance(rows, InParts):
        return InMemory(rows.readable().vectors(subtract_mean))
    return FromSource.of(rows.source, rows.room, subtract_mean, rows)


@dataclass(frozen=True, eq=False)
class InMemory:
    """rows: the numbers of the vectors' rows, ascending; None: 0, 1, 2 and so on."""

    vectors: Vectors
    rows: Rows | None = None

    def in_groups(self, groups: Iterable[Rows]) -> Iterator[tuple[Rows, Compared]]:
        for group in groups:
            yield group, self

    def nearest(self, rows: Rows, among: Rows, floor: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
        at, cosine = nearest(self.vectors, self._places(rows), self.vectors, self._places(among), floor)
        return among[at], cosine

    def nearest_of(self, rows: Rows, few: Vectors) -> tuple[Rows, NDArray[np.float32]]:
        return nearest(self.vectors, self._places(rows), few, np.arange(len(few)))

    def cosines(self, rows: Rows, others: Rows) -> NDArray[np.float32]:
        return self.vectors.exact(self._places(rows), self.vectors, self._places(others))

    def greedy(self, order: Rows, eta: float) -> NDArray[np.bool_]:
        places = self._places(order)
        return BlockEngine(self.vectors, [places]).greedy(eta).kept[places]

    @cached_property
    def to_mean(self) -> NDArray[np.float32]:
        return cosine_to_mean(self.vectors, np.arange(len(self.vectors)))

    def unit_blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        unit = self.vectors.unit.numpy()
        for start in range(0, len(unit), _SUMMED):
            yield start, unit[start : start + _SUMMED]

    def _places(self, rows: Rows) -> Rows:
        return rows if self.rows is None else np.searchsorted(self.rows, rows)


@dataclass(frozen=True, eq=False)
class FromSource:
    """rows_at_once: of the source, held in memory. survey: of the source."""

    source: RowSource
    survey: Survey
    rows_at_once: int

    @classmethod
    def of(cls, source: RowSource, room: Room, subtract_mean: bool, names: PoolRows) -> FromSource:
        at_once = Plan.within(room, source, 0).rows
        survey = Survey.of(source, at_once, names.name)
        if subtract_mean:
            source = MeanSubtracted(source, survey.mean)
            survey = Survey.of(source, at_once, names.name)
        return cls(source, survey, at_once)

    def in_groups(self, groups: Iterable[Rows]) -> Iterator[tuple[Rows, Compared]]:
        """As many groups at once as are held in memory; one that is not is read as it is asked about."""
        together: list[Rows] = []
        for group in groups:
            if sum(map(len, together)) + len(group) > self.rows_at_once:
                yield from self._read(together)
                together = []
            together.append(group)
        yield from self._read(together)

    def _read(self, groups: Sequence[Rows]) -> Iterator[tuple[Rows, Compared]]:
        rows: Compared = self
        if 0 < sum(map(len, groups)) <= self.rows_at_once:
            here = np.sort(np.concatenate(groups))
            rows = InMemory(Vectors.prepare(self.source.take(here), screen="float32"), here)  # few meet few
        for group in groups:
            yield group, rows

    def nearest(self, rows: Rows, among: Rows, floor: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
        return nearest_among(self.source, rows, among, self.rows_at_once, floor)

    def nearest_of(self, rows: Rows, few: Vectors) -> tuple[Rows, NDArray[np.float32]]:
        parts = [
            InMemory(Vectors.prepare(self.source.take(some)), some).nearest_of(some, few)
            for some in (rows[start : start + self.rows_at_once] for start in range(0, len(rows), self.rows_at_once))
        ]
        where, cosine = (np.concatenate(each) for each in zip(*parts, strict=True))
        return where, cosine

    def cosines(self, rows: Rows, others: Rows) -> NDArray[np.float32]:
        answer, half = np.empty(len(rows), np.float32), max(1, self.rows_at_once // 2)
        for start in range(0, len(rows), half):
            part = slice(start, start + half)
            here = np.unique(np.concatenate([rows[part], others[part]]))
            answer[part] = InMemory(Vectors.prepare(self.source.take(here)), here).cosines(rows[part], others[part])
        return answer

    def greedy(self, order: Rows, eta: float) -> NDArray[np.bool_]:
        """All these rows are in memory at once."""
        here = np.sort(order)
        return InMemory(Vectors.prepare(self.source.take(here)), here).greedy(order, eta)

    @cached_property
    def to_mean(self) -> NDArray[np.float32]:
        return to_mean(self.source, self.survey, self.rows_at_once)

    def unit_blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for start, stop in blocks_of(self.source.shape[0], _SUMMED):
            yield start, self.survey.unit(self.source.read(start, stop))


def directions_of(rows: Compared, label: Rows, members: NDArray[np.bool_]) -> tuple[Rows, NDArray[np.float64]]:
    """(numbers of the clusters, sums of the directions of their members), ascending. label, members: (n,)."""
    names = np.unique(label[members])
    sums: NDArray[np.float64] | None = None
    for start, unit in rows.unit_blocks():
        if sums is None:
            sums = np.zeros((len(names), unit.shape[1]))
        here = np.flatnonzero(members[start : start + len(unit)])
        of = np.searchsorted(names, label[start + here])
        order = np.argsort(of, kind="stable")
        numbers, first = np.unique(of[order], return_index=True)
        for number, part in zip(numbers.tolist(), np.split(here[order], first[1:]), strict=False):
            sums[number] += unit[part].sum(axis=0, dtype=np.float64)
    assert sums is not None
    return names, sums
