"""Rows as directions: their lengths, the rows at length 1, and the mean of these, which some selectors subtract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from meddel_hf.errors import InvalidEmbeddings
from meddel_hf.neighbors.float64 import Rows, lengths
from meddel_hf.neighbors.row_source import BLOCK, RowSource, blocks
from meddel_hf.runtime.threads import own_threads

_NOTHING_LEFT = 1e-6  # length below which a row without the pool's mean has no direction
_IS_THE_MEAN = "equal to the pool's mean, so that subtract_mean leaves nothing of them"


def norms_of(base: NDArray[np.floating]) -> NDArray[np.float64]:
    """`lengths` of many rows, (n,) float64."""
    with own_threads() as threads:
        parts = (base[start : start + BLOCK] for start in range(0, len(base), BLOCK))
        return np.concatenate(list(threads.map(lengths, parts)))


def scaled(base: NDArray[np.floating], norms: NDArray[np.float64]) -> NDArray[np.float32]:
    """(n, d) rows at length 1."""
    unit = np.empty(base.shape, np.float32)

    def scale(start: int) -> None:
        part = slice(start, start + BLOCK)
        unit[part] = base[part] / norms[part, None]

    with own_threads() as threads:
        threads.each(scale, range(0, len(base), BLOCK))
    return unit


def are_unit(base: NDArray[np.floating], norms: NDArray[np.float64]) -> bool:
    """Whether rows of these norms are taken for unit rows as they are, if all are."""
    return base.dtype == np.float32 and bool(np.all(np.abs(norms - 1) < 2.0**-20))


def subtract_mean(base: NDArray[np.floating], names: Sequence[str] | None = None) -> NDArray[np.float32]:
    """Unit rows minus their mean, (n, d) float32, not normalised again.

    The mean is summed in float64, block after block, in row order. Raises InvalidEmbeddings for rows that are the mean.
    """
    norms = norms_of(base)
    mean = unit_mean(base, norms)
    result = np.empty(base.shape, np.float32)
    for start in range(0, len(base), BLOCK):
        part = slice(start, start + BLOCK)
        result[part] = base[part] / norms[part, None] - mean
    refuse(norms_of(result) < _NOTHING_LEFT, _IS_THE_MEAN, names)
    return result


def unit_mean(base: NDArray[np.floating], norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the unit rows, (d,) float64. norms: (n,), of the rows."""
    mean: NDArray[np.float64] = mean_direction_sum(base, norms) / len(base)
    return mean


def mean_direction_sum(base: NDArray[np.floating], norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the unit rows, (d,) float64, block after block in row order."""

    def of_block(start: int) -> NDArray[np.float64]:
        part = slice(start, start + BLOCK)
        answer: NDArray[np.float64] = (base[part] / norms[part, None]).sum(axis=0)
        return answer

    total = np.zeros(base.shape[1])
    with own_threads() as threads:
        for of_one in threads.map(of_block, range(0, len(base), BLOCK)):
            total += of_one
    return total


@dataclass(frozen=True, eq=False)
class MeanSubtracted:
    """Unit rows of a source minus the pool's mean, float32, as `subtract_mean` has them. mean: (d,) float64."""

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
    direction_sum: (d,) float64, sum of the unit rows, as `mean_direction_sum` adds them up.
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
            zero.refuse(_IS_THE_MEAN)
        zero.refuse("zero vectors, which have no direction")
        return cls(n, all_unit, total)

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Of the unit rows, (d,)."""
        return self.direction_sum / self.rows

    def unit(self, rows: NDArray[np.floating]) -> NDArray[np.floating]:
        """Some rows of the source at length 1, with the very numbers that `Vectors` of all its rows has for them."""
        return rows if self.all_unit else scaled(rows, norms_of(rows))


def refuse(bad: NDArray[np.bool_], what: str, names: Sequence[str] | None) -> None:
    """Raise InvalidEmbeddings, which names the first five, where any of the rows is bad, (n,) bool. what: in words."""
    refused = _Refused(len(bad), None if names is None else names.__getitem__)
    refused.note(0, bad)
    refused.refuse(what)


@dataclass(eq=False)
class _Refused:
    """Rows that no cosine can be taken of: how many of n, and the first five. name: id of a row, if it has one."""

    n: int
    name: Callable[[int], str] | None
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
            listed = ", ".join(str(row) if self.name is None else f"{row} ({self.name(row)})" for row in self.first)
            more = f" and {self.count - 5} more" if self.count > 5 else ""
            raise InvalidEmbeddings(
                f"{self.count} of {self.n} embeddings are {what}: rows {listed}{more}; leave them out"
            )
