"""A map of the pool: its embeddings on the two directions in which they differ most, the same at every run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.neighbors.float64 import lengths
from meddel_hf.neighbors.row_source import blocks
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.spacing import evenly_spaced
from meddel_hf.runtime.tables import exactly, read_table

MAP = "map.parquet"
_SAMPLED = 20_000  # rows, evenly spaced, whose directions are looked for
_AT_ONCE = 2**22  # numbers that are read at once
_PART = 1024  # rows that are held in float64
_SHARE = b"share"


@dataclass(frozen=True, eq=False)
class Plane:
    """x, y: (n,) float32, of every row of the pool; NaN where a row has no embedding.
    share: of the variance of the embeddings that two directions show, in [0, 1].
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    share: float

    @classmethod
    def of(cls, store: EmbeddingStore) -> Plane:
        """Principal components of the unit embeddings, in the store's first pooling. Which way an axis points is
        settled by its largest entry, which is positive."""
        source, rows = store.reader(), store.rows
        mean, spread = _mean_and_spread(source.take(evenly_spaced(len(rows), _SAMPLED)))
        variances, directions = np.linalg.eigh(spread)
        axes = directions[:, [-1, -2]] if directions.shape[1] > 1 else np.repeat(directions, 2, axis=1)
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
        whole = np.full((len(store.pool_id_column), 2), np.nan, np.float32)
        for start, block in blocks(source, max(1, _AT_ONCE // source.shape[1])):
            whole[rows[start : start + len(block)]] = (_unit(block) - mean) @ axes
        share = float(variances[-2:].sum() / max(variances.sum(), 1e-30))
        return cls(whole[:, 0], whole[:, 1], min(1.0, max(0.0, share)))

    def save(self, folder: Path) -> None:
        table = pa.table({"x": self.x, "y": self.y}).replace_schema_metadata({_SHARE: repr(self.share).encode()})
        with whole_file(folder / MAP) as aside:
            pq.write_table(table, aside)

    @classmethod
    def load(cls, path: Path) -> Plane:
        table = read_table(path, exactly(x=pa.float32(), y=pa.float32()))
        with intact(path):
            return cls(table["x"].to_numpy(), table["y"].to_numpy(), float((table.schema.metadata or {})[_SHARE]))

    def in_steps(self) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Both axes in 65,534 steps of one length, so that the map keeps its shape; 65,535 where there is no place."""
        both = np.stack([self.x, self.y])
        there = np.isfinite(both).all(axis=0)
        low = both[:, there].min(axis=1) if there.any() else np.zeros(2)
        length = float((both[:, there].max(axis=1) - low).max()) if there.any() else 1.0
        steps = np.full(both.shape, 65_535, np.uint16)
        steps[:, there] = np.rint((both[:, there] - low[:, None]) / (length or 1.0) * 65_534)
        return steps[0], steps[1]


def _mean_and_spread(sample: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(d,) mean and (d, d) covariance of some rows at length 1."""
    parts = [sample[start : start + _PART] for start in range(0, len(sample), _PART)]
    mean = sum((_unit(part).sum(axis=0) for part in parts), np.zeros(sample.shape[1])) / len(sample)
    if len(sample) == 1:
        return mean, np.eye(len(mean))
    around = (_unit(part) - mean for part in parts)
    return mean, sum((part.T @ part for part in around), np.zeros((len(mean), len(mean)))) / len(sample)


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    answer: NDArray[np.float64] = rows / np.maximum(lengths(rows), 1e-30)[:, None]
    return answer
