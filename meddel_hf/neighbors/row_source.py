"""Embeddings that need not be in memory: read by row ranges, or by given rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.errors import InvalidEmbeddings
from meddel_hf.neighbors.cosines import BLOCK, Rows, Vectors, are_unit, lengths, scaled
from meddel_hf.runtime.threads import own_threads

_NOTHING_LEFT = 1e-6  # length below which a row without the pool's mean has no direction


class RowSource(Protocol):
    """n embeddings of d numbers each, of which a part is in memory at a time.

    dtype: of what is read, float32 or float64. stored: of what is kept, which may be float16.
    """

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def stored(self) -> np.dtype: ...

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        """Rows from `start` to before `stop`, in memory of their own."""

    def take(self, rows: Rows) -> NDArray[np.floating]:
        """The rows of these numbers, ascending, in memory of their own."""


@dataclass(frozen=True, eq=False)
class ArrayRows:
    """Rows of an array, which may be mapped from a file."""

    array: NDArray[np.floating]

    @property
    def shape(self) -> tuple[int, int]:
        n, d = self.array.shape
        return n, d

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32 if self.array.dtype == np.float16 else self.array.dtype)

    @property
    def stored(self) -> np.dtype:
        return self.array.dtype

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        rows = self.array[start:stop]
        result = np.empty(rows.shape, self.dtype)
        copied(rows, result)
        return result

    def take(self, rows: Rows) -> NDArray[np.floating]:
        return np.array(self.array[rows], self.dtype)


@dataclass(frozen=True, eq=False)
class PickedRows:
    """Some rows of a source. places: (m,) int64, ascending."""

    source: RowSource
    places: Rows

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.places), self.source.shape[1]

    @property
    def dtype(self) -> np.dtype:
        return self.source.dtype

    @property
    def stored(self) -> np.dtype:
        return self.source.stored

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        return self.source.take(self.places[start:stop])

    def take(self, rows: Rows) -> NDArray[np.floating]:
        return self.source.take(self.places[rows])


@dataclass(frozen=True, eq=False)
class MeanSubtracted:
    """Unit rows of a source minus the pool's mean, float32, as `cosines.subtract_mean` has them. mean: (d,) float64."""

    source: RowSource
    mean: NDArray[np.float64]

    dtype = np.dtype(np.float32)
    stored = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        return self._without(self.source.read(start, stop))

    def take(self, rows: Rows) -> NDArray[np.floating]:
        return self._without(self.source.take(rows))

    def _without(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        result = np.empty(rows.shape, np.float32)

        def subtract(start: int) -> None:
            part = slice(start, start + BLOCK)
            result[part] = rows[part] / lengths(rows[part])[:, None] - self.mean

        with own_threads() as threads:
            threads.each(subtract, range(0, len(rows), BLOCK))
        return result


@dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over all rows says of them.

    all_unit:      whether every length is 1 up to 2^-20, so that `Vectors` takes the rows for unit rows as they are.
    direction_sum: (d,) float64, sum of the unit rows, as `cosines.mean_direction_sum` adds them up.
    """

    rows: int
    all_unit: bool
    direction_sum: NDArray[np.float64]

    @classmethod
    def of(cls, source: RowSource, rows_at_once: int, name: Callable[[int], str], *, sums: bool = True) -> Survey:
        """Read every row once. rows_at_once: held in memory. name: id of a row. sums: whether sums are asked for.

        Raises InvalidEmbeddings, with names, for rows that are zero or not finite, or equal to the pool's mean.
        """
        n, d = source.shape
        total, all_unit = np.zeros(d), source.dtype == np.float32
        infinite, zero = _Refused(n, name), _Refused(n, name)
        least = _NOTHING_LEFT if isinstance(source, MeanSubtracted) else float(np.finfo(np.float32).tiny)

        def measure(part: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
            norms = lengths(part)
            with np.errstate(divide="ignore", invalid="ignore"):
                return norms, (part / norms[:, None]).sum(axis=0) if sums else None

        with own_threads() as threads:
            for start, rows in blocks(source, rows_at_once):
                parts = [rows[at : at + BLOCK] for at in range(0, len(rows), BLOCK)]
                measured = list(threads.map(measure, parts))
                norms = np.concatenate([of for of, _ in measured])
                infinite.note(start, ~np.isfinite(norms))
                zero.note(start, norms < least)
                all_unit = all_unit and are_unit(rows, norms)
                for _, directions in measured:  # block after block, so that the sum is that of all rows at once
                    total += 0 if directions is None else directions
        infinite.refuse("not finite (NaN or infinite)")
        if isinstance(source, MeanSubtracted):
            zero.refuse("equal to the pool's mean, so that subtract_mean leaves nothing of them")
        zero.refuse("zero vectors, which have no direction")
        return cls(n, all_unit, total)

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Of the unit rows, (d,)."""
        return self.direction_sum / self.rows

    def unit(self, vectors: Vectors) -> NDArray[np.float32]:
        """Some rows of the source at length 1, with the very numbers that `Vectors` of all its rows has for them."""
        if are_unit(vectors.base, vectors.norms) == self.all_unit:
            return vectors.unit.numpy()
        return scaled(vectors.base, vectors.norms)


def wide(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows as they are read: float16 as float32; by torch, several times as fast as by numpy."""
    if rows.dtype != np.float16:
        return rows
    return torch.from_numpy(np.require(rows, requirements="W")).float().numpy()  # torch takes no read-only memory


def copied(rows: NDArray[np.floating], into: NDArray[np.floating]) -> None:
    """Copy rows, which may be mapped from a file, on several threads."""

    def copy(start: int) -> None:
        part = slice(start, start + BLOCK)
        into[part] = wide(rows[part])

    with own_threads() as threads:
        threads.each(copy, range(0, len(rows), BLOCK))


def blocks(source: RowSource, rows_at_once: int) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """(first row, rows) of one block after another; blocks begin at multiples of BLOCK rows."""
    for start, stop in blocks_of(source.shape[0], rows_at_once):
        yield start, source.read(start, stop)


def blocks_of(n: int, rows_at_once: int) -> Iterator[tuple[int, int]]:
    """The first row and the end of each block of `blocks`."""
    step = max(BLOCK, rows_at_once // BLOCK * BLOCK)
    for start in range(0, n, step):
        yield start, min(start + step, n)


@dataclass(eq=False)
class _Refused:
    """Rows that no cosine can be taken of: how many of n, and the first five."""

    n: int
    name: Callable[[int], str]
    count: int = 0

    def __post_init__(self) -> None:
        self.first: list[int] = []

    def note(self, start: int, bad: NDArray[np.bool_]) -> None:
        if bad.any():
            rows = np.flatnonzero(bad)
            self.count += len(rows)
            self.first += [start + int(row) for row in rows[: 5 - len(self.first)]]

    def refuse(self, what: str) -> None:
        if self.count:
            listed = ", ".join(f"{row} ({self.name(row)})" for row in self.first)
            more = f" and {self.count - 5} more" if self.count > 5 else ""
            raise InvalidEmbeddings(
                f"{self.count} of {self.n} embeddings are {what}: rows {listed}{more}; leave them out"
            )
