"""TypiClust: as many clusters as rows to keep, and the most typical row of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from meddel_hf.neighbors.clustering import cluster, distance
from meddel_hf.neighbors.cosines import Rows, Vectors
from meddel_hf.neighbors.knn import nearest_many
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, Readable, marked
from meddel_hf.selectors.quotas import quotas

if TYPE_CHECKING:
    from datasets import Dataset

_AT_ONCE = 500  # clusters of one k-means


@dataclass(frozen=True)
class TypiClust(PoolSelector):
    """Typical clustering (Hacohen, Dekel, Weinshall, ICML 2022).

    k-means with as many clusters as rows to keep; of each cluster, the row that is most typical: whose mean Euclidean
    distance to its nearest neighbours in the cluster is least (equals: the earlier row).

    retention:     share of the pool to keep, met exactly: round(retention * n) rows. In (0, 1].
    seed:          of the clusterings.
    neighbors:     how many nearest neighbours; half of the cluster's rows where that is less, one at least.
    subtract_mean: as in MedDEL.

    In the table, `cluster` is a row's cluster and `distance` that to the most typical row of it.

    Source: arXiv 2202.02794, Sections 3.2 and 3.3, 20 neighbours as there. The paper never makes more than 500 clusters
    and takes several rows of one beyond that; here so many parts are made first that each can be put in about 500, its
    share by its rows, so that every kept row has a cluster of its own. Where clusters stay empty (as of copies), the
    others give their next most typical rows, a turn each, the largest first. The authors' code leaves out clusters of
    five rows or fewer, which most are where more than a fifth is kept: here they give theirs too.
    """

    retention: float
    seed: int = 0
    neighbors: int = 20
    subtract_mean: bool = False

    def __post_init__(self) -> None:
        checks.common(self)
        checks.count("neighbors", self.neighbors, 1)

    @own_threads()
    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        readable = Readable.of(embeddings)
        target = readable.rows_to_keep(self.retention)
        vectors = readable.vectors(self.subtract_mean)
        clusters = fine_clusters(vectors, target, self.seed)
        label = np.empty(len(vectors), np.int64)
        turn, size, cosine = np.empty_like(label), np.empty_like(label), np.empty(len(vectors), np.float32)
        for number, rows in enumerate(clusters):
            order = np.argsort(mean_distances(vectors, rows, self.neighbors), kind="stable")
            turn[rows[order]] = np.arange(len(rows))
            label[rows], size[rows] = number, len(rows)
            cosine[rows] = vectors.exact(rows, vectors, np.repeat(rows[order[:1]], len(rows)))
        first = np.lexsort((label, -size, turn))[:target]
        settings = {"selector": "typiclust", **asdict(self)}
        return readable.selection(marked(len(vectors), first), settings, label, distance(cosine))


def fine_clusters(vectors: Vectors, number: int, seed: int) -> list[Rows]:
    """Rows of each cluster that has any, ascending; `number` clusters at most."""
    parts = _members(vectors, np.arange(len(vectors)), -(-number // _AT_ONCE), seed)
    size = np.array([len(part) for part in parts])
    share = quotas(number * size / size.sum(), size, number)
    return [
        rows
        for place, (part, count) in enumerate(zip(parts, share, strict=True))
        for rows in _members(vectors, part, int(count), seed + place)
    ]


def _members(vectors: Vectors, rows: Rows, number: int, seed: int) -> list[Rows]:
    if number == 1:
        return [rows]
    label = cluster(vectors, rows, number, seed).label
    order = np.argsort(label, kind="stable")
    return np.split(rows[order], np.flatnonzero(np.diff(label[order])) + 1)


def mean_distances(vectors: Vectors, rows: Rows, most: int) -> NDArray[np.float64]:
    """(m,): of each row of a cluster, the mean Euclidean distance to its nearest others, as TypiClust counts them."""
    count = min(most, max(1, len(rows) // 2), len(rows) - 1)
    if count == 0:
        return np.zeros(len(rows))
    # Of copies a row may not be among its own nearest: they all stand at distance 0, whoever is left out.
    _, cosine = nearest_many(vectors, rows, vectors, rows, count + 1)
    answer: NDArray[np.float64] = distance(cosine[:, 1:]).astype(np.float64).mean(axis=1)
    return answer
