"""MaxHerding: again and again the row that adds most to how well all rows are covered."""

from __future__ import annotations

import heapq
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.sparse import csr_array

from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.knn import Neighbors, neighbors
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, Readable, marked

if TYPE_CHECKING:
    from datasets import Dataset

_FEWEST, _TIMES = 64, 4  # neighbours of a row, and how many times as many as a kept row stands for
_MOST_EDGES = 2**26
_STEP = 2.0**-24  # of cosines


@dataclass(frozen=True)
class MaxHerding(PoolSelector):
    """Greedy maximum of the generalized coverage (Bae, Noh, Sutherland, ECCV 2024).

    Coverage is the mean over all rows of max k(x, y), y over the kept rows, with k(x, y) = exp(-|x - y|^2 / sigma^2) on
    unit vectors. The row that adds most comes next (equals: the earlier row), so that dense places come first and none
    comes twice. Greedy coverage is at least 1 - 1/e of the best that as many rows can have.

    retention:     share of the pool to keep, met exactly: round(retention * n) rows. In (0, 1].
    seed:          of the clustering behind an approximate graph; below 32,768 rows nothing is drawn.
    bandwidth:     sigma, a Euclidean distance; or "auto": the median distance of a row to its m-th nearest, where m is
                   how many rows a kept one stands for, n / kept (no more than there are neighbours).
    neighbors:     k is taken as 0 between rows of which neither is among so many nearest of the other; "auto" for 4 m,
                   64 at least, and no more than make 67 million in all. From n - 1 on nothing is left out.
    subtract_mean: as in MedDEL.

    In the table, `cluster` and `distance` stay empty: rows may have no kept one among their neighbours.

    Source: arXiv 2407.12212, Section 4; the paper has sigma 1 for its unit vectors, and every pair. Up to 32,768 rows
    neighbours are exact, beyond see `meddel_hf.neighbors.knn.neighbors`. With one bandwidth and number of neighbours,
    a lower retention keeps a part of what a higher one keeps.
    """

    retention: float
    seed: int = 0
    bandwidth: float | Literal["auto"] = "auto"
    neighbors: int | Literal["auto"] = "auto"
    subtract_mean: bool = False

    def __post_init__(self) -> None:
        checks.common(self)
        if self.bandwidth != "auto" and not (checks.is_number(self.bandwidth) and 0 < self.bandwidth < float("inf")):
            raise InvalidArgument(f"bandwidth must be 'auto' or a positive number, got {self.bandwidth!r}")
        if self.neighbors != "auto":
            checks.count("neighbors", self.neighbors, 1)

    @own_threads()
    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        readable = Readable.of(embeddings)
        target = readable.rows_to_keep(self.retention)
        vectors = readable.vectors(self.subtract_mean)
        n = len(vectors)
        stands_for = -(-n // target)
        near = neighbors(vectors, self._count(n, stands_for), self.seed)
        sigma = bandwidth(near, stands_for) if self.bandwidth == "auto" else self.bandwidth
        settings = {"selector": "max-herding", **asdict(self)}
        return readable.selection(marked(n, np.array(herd(kernel(near, sigma), target))), settings)

    def _count(self, n: int, stands_for: int) -> int:
        if self.neighbors != "auto":
            return self.neighbors
        return max(1, min(max(_FEWEST, _TIMES * stands_for), _MOST_EDGES // n))


def bandwidth(near: Neighbors, stands_for: int) -> float:
    """Median distance to the neighbour of that rank, or to the last of fewer; the least there is where that is 0."""
    if near.cosine.shape[1] == 0:
        return 1.0
    cosine = near.cosine[:, min(stands_for, near.cosine.shape[1]) - 1]
    cosine = cosine[cosine >= -1]  # a row that lacks a neighbour of that rank
    middle = float(np.median(cosine)) if len(cosine) else 0.0
    return float(np.sqrt(2 * max(1 - middle, _STEP)))


def kernel(near: Neighbors, sigma: float) -> csr_array:
    """(n, n) float32, symmetric: k of every row with itself and with its neighbours, both ways."""
    n = len(near)
    rows = np.concatenate([np.arange(n, dtype=np.int32)[:, None], near.rows], axis=1)
    there = rows >= 0
    ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    value = np.ones(rows.shape, np.float32)
    value[:, 1:] = np.exp((near.cosine.astype(np.float64) - 1) * (2 / sigma**2))
    graph = csr_array((value[there], rows[there], ends), shape=(n, n))
    answer = graph.maximum(graph.T.tocsr())
    answer.sort_indices()
    return answer


def herd(kernel: csr_array, count: int) -> list[int]:
    """Rows in the order in which greedy takes them.

    What a row would add can only shrink as others are taken, so what it once would have added bounds what it adds now:
    the row of greatest bound is worked out again, and taken where that leaves it the greatest (lazy greedy).
    """
    ends, cols, value = kernel.indptr, kernel.indices, kernel.data.astype(np.float64)
    covered = np.zeros(kernel.shape[0])

    def adds(row: int) -> float:
        part = slice(ends[row], ends[row + 1])
        return float(np.maximum(value[part] - covered[cols[part]], 0).sum())

    bounds = np.add.reduceat(value, ends[:-1]) * (1 + 1e-9)  # summed in another order than `adds` does
    heap = [(-bound, row, -1) for row, bound in enumerate(bounds.tolist())]
    heapq.heapify(heap)
    taken: list[int] = []
    while len(taken) < count:
        _, row, known_at = heap[0]
        if known_at < len(taken):
            heapq.heapreplace(heap, (-adds(row), row, len(taken)))
            continue
        heapq.heappop(heap)
        taken.append(row)
        part = slice(ends[row], ends[row + 1])
        covered[cols[part]] = np.maximum(covered[cols[part]], value[part])
    return taken
