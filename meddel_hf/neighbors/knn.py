"""The nearest rows of every row: exact among rows that are named, and a graph over a whole pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from meddel_hf.neighbors.clustering import cluster
from meddel_hf.neighbors.cosines import TILE, Rows, Tier, Vectors, few_candidates, product
from meddel_hf.runtime.threads import own_threads

EXACT_UP_TO = 2**15  # rows of a pool that is searched whole
_PROBES = 16  # clusters that a row's neighbours are sought in, where it is not
_SMALL = 2**16  # pairs up to which float64 is quickest
_STRIP = 2**26  # numbers of a product that is held at once
_MOST_ROWS = 1024
_PARTS = 64  # columns of which one maximum is taken
_CROWD = 8  # candidates for each place beyond which a product of higher precision is cheaper
_NEXT: dict[Tier, Tier] = {"bfloat16": "float32", "float32": "float64"}


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest other rows of each row, nearest first (equals: the earlier row).

    rows:   (n, k) int32 row numbers; -1 in the places that nobody was found for.
    cosine: (n, k) float32, exact; -2 in those places.
    exact:  False where neighbours were sought in the nearest clusters alone, so that a few may be missed.
    """

    rows: NDArray[np.int32]
    cosine: NDArray[np.float32]
    exact: bool

    def __len__(self) -> int:
        return len(self.rows)


def neighbors(vectors: Vectors, k: int, seed: int = 0, exact_up_to: int = EXACT_UP_TO) -> Neighbors:
    """The k nearest other rows of each row, or all others where there are no more.

    Up to `exact_up_to` rows the answer is exact. Beyond, rows are put in round(sqrt(n)) clusters (k-means, `seed`), and
    those of a cluster are compared with the rows of the 16 clusters whose centroids are nearest to its own.
    """
    n = len(vectors)
    k = min(k, n - 1)
    found = Neighbors(np.full((n, k), -1, np.int32), np.full((n, k), -2, np.float32), n <= exact_up_to)
    if k == 0:
        return found
    if found.exact:
        everyone = np.arange(n)
        _fill(found, everyone, *nearest_many(vectors, everyone, vectors, everyone, k + 1))
        return found
    clusters = cluster(vectors, np.arange(n), None, seed)
    order = np.argsort(clusters.label, kind="stable")
    used, first, size = np.unique(clusters.label[order], return_index=True, return_counts=True)
    members = [order[start : start + count] for start, count in zip(first, size, strict=True)]
    near, _ = nearest_many(clusters.centroids, used, clusters.centroids, used, _PROBES)
    for rows, places in zip(tqdm(members, desc="finding neighbours", delay=5, leave=False), near, strict=True):
        cols = np.sort(np.concatenate([members[place] for place in places]))
        where, cosine = nearest_many(vectors, rows, vectors, cols, k + 1)
        _fill(found, rows, cols[where], cosine)
    return found


def _fill(found: Neighbors, rows: Rows, near: Rows, cosine: NDArray[np.float32]) -> None:
    """Write down what `nearest_many` found for `rows`, without the rows themselves."""
    itself = near == rows[:, None]
    itself[~itself.any(axis=1), -1] = True  # so many copies that it is not among its own nearest
    shape = len(rows), near.shape[1] - 1
    found.rows[rows, : shape[1]] = near[~itself].reshape(shape)
    found.cosine[rows, : shape[1]] = cosine[~itself].reshape(shape)


def nearest_many(
    queries: Vectors, rows: Rows, reference: Vectors, cols: Rows, k: int
) -> tuple[Rows, NDArray[np.float32]]:
    """Of each row of `queries`: positions in `cols` of the k reference rows of greatest cosine, and those cosines.

    Best first, equals by position; both arrays are (len(rows), min(k, len(cols))). Exact, as `cosines.nearest` is.
    """
    k = min(k, len(cols))
    where, best = np.zeros((len(rows), k), np.int64), np.zeros((len(rows), k), np.float32)
    if len(rows) * len(cols) <= _SMALL:
        _sorted_into(where, best, queries.exact_tile(rows, reference, cols))
        return where, best
    tier: Tier = "float32" if queries.low is None or reference.low is None else "bfloat16"
    search = _Search(queries, reference, cols, k, tier)

    def find(start: int) -> None:
        part = slice(start, start + size)
        where[part], best[part] = search.of(rows[part])

    with own_threads() as threads:
        size = max(1, min(_MOST_ROWS, _STRIP // len(cols), -(-len(rows) // threads.count)))
        for _ in threads.map(find, range(0, len(rows), size)):
            pass
    return where, best


def _sorted_into(where: Rows, best: NDArray[np.float32], cosine: NDArray[np.float32]) -> None:
    order = np.argsort(-cosine, axis=1, kind="stable")[:, : where.shape[1]]
    where[:], best[:] = order, np.take_along_axis(cosine, order, axis=1)


@dataclass(eq=False)
class _Search:
    """One search of `nearest_many`; `tier` rises where a cheaper product leaves too many candidates."""

    queries: Vectors
    reference: Vectors
    cols: Rows
    k: int
    tier: Tier

    def of(self, rows: Rows) -> tuple[Rows, NDArray[np.float32]]:
        where, best = np.zeros((len(rows), self.k), np.int64), np.zeros((len(rows), self.k), np.float32)
        open_rows, tier = np.arange(len(rows)), self.tier
        while len(open_rows) and tier != "float64":
            here = rows[open_rows]
            strip = self._strip(here, tier)
            limit = self._at_least(strip) - 2 * self.queries.margin(self.reference, tier)
            few = few_candidates(strip, limit, _CROWD * self.k * len(here))
            if few is not None:
                where[open_rows], best[open_rows] = self._best(here, *few)
                return where, best
            done, first = self._copies(here, strip, limit)
            where[open_rows[done]], best[open_rows[done]] = first, 1
            open_rows, tier = open_rows[~done], _NEXT[tier]
            if tier == "float32":
                self.tier = tier  # the next rows are likely to be as crowded
        for start in range(0, len(open_rows), step := max(1, _STRIP // 8 // len(self.cols))):
            part = open_rows[start : start + step]
            tile = self.queries.exact_tile(rows[part], self.reference, self.cols)
            some_where, some_best = where[part], best[part]
            _sorted_into(some_where, some_best, tile)
            where[part], best[part] = some_where, some_best
        return where, best

    def _strip(self, rows: Rows, tier: Tier) -> torch.Tensor:
        panel = self.queries.panel(rows, tier)
        strip = torch.empty((len(rows), len(self.cols)), dtype=panel.dtype)
        for c in range(0, len(self.cols), TILE):
            strip[:, c : c + TILE] = product(panel, self.reference.panel(self.cols[c : c + TILE], tier))
        return strip

    def _at_least(self, strip: torch.Tensor) -> torch.Tensor:
        """(m,) float32: no more than the k-th greatest number of each row, and close to it.

        That is the k-th of the maxima of its parts. Columns of a part stand far from one another, since the frames of
        one video stand side by side.
        """
        m, n = strip.shape
        parts = n // _PARTS
        if parts < 2 * self.k:
            return strip.float().topk(self.k, dim=1).values[:, -1]
        tops = strip[:, : parts * _PARTS].reshape(m, _PARTS, parts).amax(dim=1).float()
        return tops.topk(self.k, dim=1).values[:, -1]

    def _best(self, rows: Rows, r: Rows, c: Rows) -> tuple[Rows, NDArray[np.float32]]:
        """The k best of each row's candidates, of which each has k at least."""
        cosine = self.queries.exact(rows[r], self.reference, self.cols[c])
        order = np.lexsort((c, -cosine, r))
        starts = np.searchsorted(r, np.arange(len(rows)))  # r ascends
        at = order[starts[:, None] + np.arange(self.k)]
        return c[at], cosine[at]

    def _copies(self, rows: Rows, strip: torch.Tensor, limit: torch.Tensor) -> tuple[NDArray[np.bool_], Rows]:
        """Rows whose first k candidates are all exact copies, which none exceeds: (m,) bool, and their positions."""
        above = (strip.float() >= limit[:, None]).numpy()
        first = np.array([np.flatnonzero(row)[: self.k] for row in above])
        cosine = self.queries.exact(np.repeat(rows, self.k), self.reference, self.cols[first.ravel()])
        done = (cosine.reshape(first.shape) == 1).all(axis=1)
        return done, first[done]
