"""The nearest rows of every row: exact among rows that are named, and a graph over a whole pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.neighbors.clustering import cluster
from meddel_hf.neighbors.cosines import TILE, Rows, Tier, Vectors, few_candidates, product
from meddel_hf.neighbors.device.nearest import nearest_many as nearest_many_there
from meddel_hf.neighbors.device.rows import HIGHER
from meddel_hf.neighbors.row_source import RowSource, blocks
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.shared_work import Arrays, digest_of, in_parts
from meddel_hf.runtime.threads import own_threads

EXACT_UP_TO = 2**15  # rows of a pool that is searched whole
_PROBES = 16  # clusters that a row's neighbours are sought in, where it is not
_SMALL = 2**16  # pairs up to which float64 is quickest
_STRIP = 2**26  # numbers of a product that is held at once
_MOST_ROWS = 1024
_PARTS = 64  # columns of which one maximum is taken, at most; whole chunks of `few_candidates`
_CROWD = 8  # candidates for each place beyond which a product of higher precision is cheaper


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
    search = _Search.begin(vectors, vectors)
    for rows, places in zip(tqdm(members, desc="finding neighbours", delay=5, leave=False), near, strict=True):
        cols = np.sort(np.concatenate([members[place] for place in places]))
        where, cosine = search.find(rows, cols, k + 1)
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

    def question() -> str:
        return digest_of("nearest many", queries.digest, rows, reference.digest, cols, k)

    def answer(part: slice) -> Arrays:
        where, cosine = _Search.begin(queries, reference).find(rows[part], cols, k)
        return {"where": where, "cosine": cosine}

    found = in_parts("nearest many", question, len(rows), float(len(cols)) * queries.dim, answer)
    return found["where"], found["cosine"]


def nearest_other(vectors: Vectors, rows: Rows, cols: Rows) -> tuple[Rows, NDArray[np.float32]]:
    """Of each of `rows` the nearest of `cols` besides itself, and its cosine: itself and -1 where there is no other."""
    where, cosine = nearest_many(vectors, rows, vectors, cols, 2)
    near, value = _besides(rows, cols[where], cosine)
    return near, np.where(near == rows, np.float32(-1), value)


def nearest_other_in(source: RowSource, rows: Rows, rows_at_once: int) -> tuple[Rows, NDArray[np.float32]]:
    """As `nearest_other` among all rows of a source, of which so many are in memory at a time. rows: ascending."""
    queries = Vectors.prepare(source.take(rows))
    everyone = np.arange(len(rows))
    where, best = rows.copy(), np.full(len(rows), -2, np.float32)
    for start, block in blocks(source, rows_at_once):
        at, cosine = nearest_many(queries, everyone, queries.like(block), np.arange(len(block)), 2)
        near, value = _besides(rows, start + at, cosine)
        better = (near != rows) & (value > best)
        where[better], best[better] = near[better], value[better]
    return where, np.where(where == rows, np.float32(-1), best)


def _besides(rows: Rows, near: Rows, cosine: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
    """Of the two nearest of each row, (m, 2), or one, the first that is not the row itself; itself where none is."""
    each, place = np.arange(len(rows)), np.where(near[:, 0] == rows, near.shape[1] - 1, 0)
    return near[each, place], cosine[each, place]


def _sorted(cosine: NDArray[np.float32], k: int) -> tuple[Rows, NDArray[np.float32]]:
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(cosine, order, axis=1)


@dataclass(eq=False)
class _Search:
    """What `nearest_many` does, for one set of columns after another.

    tier: of the products that begin; it rises for good where a cheaper one leaves too many candidates.
    """

    queries: Vectors
    reference: Vectors
    tier: Tier

    @classmethod
    def begin(cls, queries: Vectors, reference: Vectors) -> _Search:
        return cls(
            queries, reference, "bfloat16" if queries.cheapest == reference.cheapest == "bfloat16" else "float32"
        )

    def find(self, rows: Rows, cols: Rows, k: int) -> tuple[Rows, NDArray[np.float32]]:
        k = min(k, len(cols))
        mine, theirs = self.queries.device, self.reference.device
        if mine is not None and theirs is not None and mine.place == theirs.place:
            return nearest_many_there(mine, rows, theirs, cols, k)
        if len(rows) * len(cols) <= _SMALL:
            return _sorted(self.queries.exact_tile(rows, self.reference, cols), k)
        where, best = np.zeros((len(rows), k), np.int64), np.zeros((len(rows), k), np.float32)

        def find(start: int) -> None:
            part = slice(start, start + size)
            where[part], best[part] = self._of_block(rows[part], cols, k)

        with own_threads() as threads:
            size = max(1, min(_MOST_ROWS, _STRIP // len(cols), -(-len(rows) // threads.count)))
            for _ in threads.map(find, range(0, len(rows), size)):
                pass
        return where, best

    def _of_block(self, rows: Rows, cols: Rows, k: int) -> tuple[Rows, NDArray[np.float32]]:
        where, best = np.zeros((len(rows), k), np.int64), np.zeros((len(rows), k), np.float32)
        open_rows, tier = np.arange(len(rows)), self.tier
        while len(open_rows) and tier != "float64":
            here = rows[open_rows]
            strip = self._strip(here, cols, tier)
            limit = _at_least(strip, k) - 2 * self.queries.margin(self.reference, tier)
            few = few_candidates(strip, limit, _CROWD * k * len(here))
            if few is not None:
                where[open_rows], best[open_rows] = self._best(here, cols, k, *few)
                return where, best
            done, first = self._copies(here, cols, k, strip, limit)
            where[open_rows[done]], best[open_rows[done]] = first, 1
            open_rows, tier = open_rows[~done], HIGHER[tier]
            if tier == "float32":
                self.tier = tier  # the next rows are likely to be as crowded
        for start in range(0, len(open_rows), step := max(1, _STRIP // 8 // len(cols))):
            part = open_rows[start : start + step]
            where[part], best[part] = _sorted(self.queries.exact_tile(rows[part], self.reference, cols), k)
        return where, best

    def _strip(self, rows: Rows, cols: Rows, tier: Tier) -> torch.Tensor:
        """Screened cosines, (m, n) and as many columns of -4 as make whole chunks, which are quicker to search."""
        panel = self.queries.panel(rows, tier)
        strip = torch.empty((len(rows), -(-len(cols) // _PARTS) * _PARTS), dtype=panel.dtype)
        strip[:, len(cols) :] = -4
        for c in range(0, len(cols), TILE):
            part = cols[c : c + TILE]
            strip[:, c : c + len(part)] = product(panel, self.reference.panel(part, tier))
        return strip

    def _best(self, rows: Rows, cols: Rows, k: int, r: Rows, c: Rows) -> tuple[Rows, NDArray[np.float32]]:
        """The k best of each row's candidates, of which each has k at least."""
        cosine = self.queries.exact(rows[r], self.reference, cols[c])
        order = np.lexsort((c, -cosine, r))
        starts = np.searchsorted(r, np.arange(len(rows)))  # r ascends
        at = order[starts[:, None] + np.arange(k)]
        return c[at], cosine[at]

    def _copies(
        self, rows: Rows, cols: Rows, k: int, strip: torch.Tensor, limit: torch.Tensor
    ) -> tuple[NDArray[np.bool_], Rows]:
        """Rows whose first k candidates are all exact copies, which none exceeds: (m,) bool, and their positions."""
        above = (strip.float() >= limit[:, None]).numpy()
        first = np.array([np.flatnonzero(row)[:k] for row in above])
        cosine = self.queries.exact(np.repeat(rows, k), self.reference, cols[first.ravel()])
        done = (cosine.reshape(first.shape) == 1).all(axis=1)
        return done, first[done]


def _at_least(strip: torch.Tensor, k: int) -> torch.Tensor:
    """(m,) float32: no more than the k-th greatest number of each row, and close to it.

    That is the k-th of the maxima of its parts. Columns of a part stand far from one another, since the frames of one
    video stand side by side.
    """
    m, n = strip.shape
    width = next((width for width in (_PARTS, _PARTS // 4, _PARTS // 16) if n // width >= 2 * k), 1)
    tops = strip.reshape(m, width, n // width).amax(dim=1).float()
    return tops.topk(k, dim=1).values[:, -1]
