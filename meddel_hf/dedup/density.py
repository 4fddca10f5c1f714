"""How dense near-duplicates are, from a few rows' exact cosines: it chooses the engine and where a search starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from meddel_hf.errors import IncompleteStore
from meddel_hf.neighbors.cosines import TILE, Rows, Vectors
from meddel_hf.neighbors.device.tiles import counts_by_cosine
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.reading import CURE
from meddel_hf.runtime.shared_work import Arrays, digest_of, in_parts
from meddel_hf.runtime.spacing import evenly_spaced
from meddel_hf.runtime.tables import exactly, read_table

_SAMPLED_ROWS = 256
_BINS = 1024  # over cosines from -1 to 1
_OF_FLOAT64 = 8  # multiplications of a screen that one in float64 costs
_MOST_PARTS = 32  # of a group: each has two megabytes of counts
_EDGES = -1 + np.arange(_BINS + 1) * (2 / _BINS)


@dataclass(frozen=True, eq=False)
class CosineSample:
    """Two curves over eta (1,025 edges from -1 to 1), from the exact cosines of at most 256 evenly spaced rows.

    stay:  (1025,) float64, estimated rows that a greedy pass keeps, the sum of 1 / (1 + neighbours) (Caro; Wei).
    pairs: (1025,) float64, estimated pairs at or above the edge.
    """

    stay: NDArray[np.float64]
    pairs: NDArray[np.float64]

    @classmethod
    def draw(cls, vectors: Vectors, groups: Sequence[Rows]) -> CosineSample:
        """groups: row numbers that are compared with one another only."""
        order, sizes, there = np.concatenate(groups), list(map(len, groups)), vectors.device

        def question() -> str:
            return digest_of(vectors.digest, order, sizes)

        if there is not None:
            return cls._counted(
                sizes, lambda at, part: counts_by_cosine(there, order[at], order[part], _BINS), vectors.dim, question
            )
        return cls.measured(
            sizes, lambda at, part: vectors.exact_tile(order[at], vectors, order[part]), vectors.dim, question
        )

    @classmethod
    def measured(
        cls,
        sizes: Sequence[int],
        cosines: Callable[[Rows, slice], NDArray[np.float32]],
        dim: int,
        question: Callable[[], str],
    ) -> CosineSample:
        """sizes: rows in each group, one after another. cosines: exact ones of some rows with a range of rows, by their
        places in that order. question: digest of the rows and their order, for processes that share the work."""
        return cls._counted(sizes, lambda at, all_of: _counts(at, all_of, cosines), dim, question)

    @classmethod
    def _counted(
        cls,
        sizes: Sequence[int],
        counts_of: Callable[[Rows, slice], NDArray[np.int64]],
        dim: int,
        question: Callable[[], str],
    ) -> CosineSample:
        """counts_of: of some rows with a range of rows of their group, `_counts`."""
        size = sum(sizes)
        picked = evenly_spaced(size, _SAMPLED_ROWS)
        counts = np.zeros((len(picked), _BINS + 2), np.int64)
        end = 0
        for length in sizes:
            begin, end = end, end + length
            here = slice(*np.searchsorted(picked, (begin, end)))
            at = picked[here]
            if len(at):
                counts[here] = _shared_counts(at, slice(begin, end), counts_of, dim, question)
        neighbors = counts[:, _BINS::-1].cumsum(axis=1)[:, ::-1]
        return cls((1 / (1 + neighbors)).mean(axis=0) * size, neighbors.mean(axis=0) * size / 2)

    def kept(self, eta: float) -> float:
        """Estimated number of rows that a greedy pass keeps."""
        return float(self.stay[_edge(eta)])

    def pairs_above(self, eta: float) -> float:
        """Estimated number of pairs above eta."""
        return float(self.pairs[_edge(eta)])

    def share_above(self, eta: float) -> float:
        """Estimated share of the compared pairs that are above eta."""
        return self.pairs_above(eta) / max(1.0, float(self.pairs[0]))

    def eta_for(self, kept: float) -> float:
        """The greatest edge at which `kept` rows stay at most, in [-1, 1]."""
        return float(_EDGES[max(0, int(np.searchsorted(self.stay, kept, side="right")) - 1)])

    def floor_for(self, pairs: float) -> float:
        """The lowest edge with at most so many pairs at or above it, in [-1, 1]."""
        return float(_EDGES[min(_BINS, int(np.searchsorted(-self.pairs, -pairs, side="left")))])

    def save(self, path: Path) -> None:
        with whole_file(path) as aside:
            pq.write_table(pa.table({"eta": _EDGES, "stay": self.stay, "pairs": self.pairs}), aside)

    @classmethod
    def load(cls, path: Path) -> CosineSample:
        table = read_table(path, exactly(stay=pa.float64(), pairs=pa.float64()))
        if len(table) != len(_EDGES):
            raise IncompleteStore(f"{path} is damaged ({len(table):,} rows, expected {len(_EDGES):,}): {CURE}")
        return cls(table["stay"].to_numpy(), table["pairs"].to_numpy())


def _shared_counts(
    at: Rows,
    all_of: slice,
    counts_of: Callable[[Rows, slice], NDArray[np.int64]],
    dim: int,
    question: Callable[[], str],
) -> NDArray[np.int64]:
    """counts_of(at, all_of), summed up from parts of the group where processes share the work."""

    def answer(part: slice) -> Arrays:
        return {"counts": counts_of(at, slice(all_of.start + part.start, all_of.start + part.stop))[None]}

    def asked() -> str:
        return digest_of("counts", question(), at, all_of.start, all_of.stop)

    cost = float(len(at)) * dim * _OF_FLOAT64
    counts = in_parts("sampling", asked, all_of.stop - all_of.start, cost, answer, TILE, _MOST_PARTS)["counts"]
    total: NDArray[np.int64] = counts.sum(axis=0)
    return total


def _counts(at: Rows, all_of: slice, cosines: Callable[[Rows, slice], NDArray[np.float32]]) -> NDArray[np.int64]:
    """(len(at), bins + 2): cosines in each bin; the last two are those of 1, and of rows with themselves."""
    counts = np.zeros((len(at), _BINS + 2), np.int64)
    for start in range(all_of.start, all_of.stop, TILE):
        stop = min(start + TILE, all_of.stop)
        tile = cosines(at, slice(start, stop))
        bins = np.floor((tile.astype(np.float64) + 1) * (_BINS / 2)).astype(np.int64).clip(0, _BINS)
        own = (at >= start) & (at < stop)
        bins[own, at[own] - start] = _BINS + 1  # no pair with itself: a bin that is left out
        bins += np.arange(len(at))[:, None] * (_BINS + 2)
        counts += np.bincount(bins.ravel(), minlength=counts.size).reshape(len(at), -1)
    return counts


def _edge(eta: float) -> int:
    return int(np.ceil((np.clip(eta, -1, 1) + 1) * (_BINS / 2)))
