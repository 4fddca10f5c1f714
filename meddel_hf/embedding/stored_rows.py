"""Rows of an embedding store, read from its shards when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meddel_hf.neighbors.float64 import Rows
from meddel_hf.neighbors.row_source import copied, wide


@dataclass(frozen=True, eq=False)
class StoredRows:
    """The readable rows of a store in one of its poolings; a `neighbors.row_source.RowSource`.

    starts: (shards + 1,) int64, number of each shard's first row. shard: maps one from its file, (m, d). stored: dtype
    there. What is read is float32, in memory of its own; no file stays mapped.
    """

    starts: Rows
    dim: int
    stored: np.dtype
    shard: Callable[[int], NDArray[np.floating]]

    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.starts[-1]), self.dim

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        result = np.empty((stop - start, self.dim), np.float32)
        for number in self._shards_of(start, stop):
            first = int(self.starts[number])
            begin, end = max(start, first), min(stop, int(self.starts[number + 1]))
            copied(self.shard(number)[begin - first : end - first], result[begin - start : end - start])
        return result

    def take(self, rows: Rows) -> NDArray[np.floating]:
        result = np.empty((len(rows), self.dim), np.float32)
        for number in self._shards_of(int(rows[0]), int(rows[-1]) + 1) if len(rows) else ():
            first = self.starts[number]
            here = slice(*np.searchsorted(rows, (first, self.starts[number + 1])))
            if here.start < here.stop:
                result[here] = wide(self.shard(number)[rows[here] - first])
        return result

    def _shards_of(self, start: int, stop: int) -> range:
        """Numbers of the shards with rows from `start` to before `stop`."""
        first, last = np.searchsorted(self.starts, (start, stop - 1), side="right") - 1
        return range(int(first), int(last) + 1) if start < stop else range(0)
