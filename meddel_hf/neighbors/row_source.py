"""Embeddings that need not be in memory: read by row ranges, or by given rows.

torch is imported where rows are read: who opens a store, and asks for none, waits for no import.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from meddel_hf.neighbors.float64 import Rows

BLOCK = 1024  # rows that are computed on at once


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


def wide(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows as they are read: float16 as float32; by torch, several times as fast as by numpy."""
    if rows.dtype != np.float16:
        return rows
    import torch

    return torch.from_numpy(np.require(rows, requirements="W")).float().numpy()  # torch takes no read-only memory


def copied(rows: NDArray[np.floating], into: NDArray[np.floating]) -> None:
    """Copy rows, which may be mapped from a file, on several threads."""
    from meddel_hf.runtime.threads import own_threads

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
