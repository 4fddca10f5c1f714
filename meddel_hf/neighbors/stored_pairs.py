"""Pairs of near-duplicates as they are stored, and the greedy rule among them: what needs no embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from meddel_hf.neighbors.float64 import Rows
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.tables import exactly, read_table

_FLOOR = b"floor"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of rows whose cosine is above `floor`, each once, sorted by (first, second).

    first, second: (m,) int64 row numbers of the pool; within one pool first < second.
    cosine:        (m,) float32.
    """

    first: Rows
    second: Rows
    cosine: NDArray[np.float32]
    floor: float

    def __len__(self) -> int:
        return len(self.first)

    def save(self, path: Path) -> None:
        table = pa.table({"first": self.first, "second": self.second, "cosine": self.cosine})
        with whole_file(path) as aside:
            pq.write_table(table.replace_schema_metadata({_FLOOR: repr(self.floor).encode()}), aside)

    @classmethod
    def load(cls, path: Path) -> Pairs:
        table = read_table(path, exactly(first=pa.int64(), second=pa.int64(), cosine=pa.float32()))
        first, second, cosine = (table[name].to_numpy() for name in ("first", "second", "cosine"))
        with intact(path):
            return cls(first, second, cosine, float((table.schema.metadata or {})[_FLOOR]))


def greedy_by_pairs(rows: int, first: Rows, second: Rows) -> NDArray[np.bool_]:
    """The greedy rule among rows numbered in keep order, (rows,) bool.

    first, second: the pairs above eta, the earlier row first, in the order of the earlier rows.
    """
    keep = np.ones(rows, bool)
    starts = np.flatnonzero(np.diff(first, prepend=-1))
    ends = np.append(starts, len(first))[1:]
    for rank, start, end in zip(first[starts].tolist(), starts.tolist(), ends.tolist(), strict=True):
        if keep[rank]:
            keep[second[start:end]] = False
    return keep
