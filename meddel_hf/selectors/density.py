"""DensityQuotas: more rows for clusters that are wide and far from others, fewer for dense ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.clustering import Clustering, cluster, distance
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, Readable, marked
from meddel_hf.selectors.quotas import quotas

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class DensityQuotas(PoolSelector):
    """Density-based pruning (Abbas, Rusak, Tirumala, Brendel, Chaudhuri, Morcos, ICLR 2024).

    k-means; the complexity of cluster j is C_j = d_inter * d_intra: the mean cosine distance (1 - cosine) of its
    centroid to the nearest other centroids, times that of its rows to it. It should keep the share softmax(C / t)_j of
    all kept rows; quotas are the whole numbers closest to that (least squares), at least one and at most what the
    cluster has. The paper removes near-duplicates first; here the pool is taken as it is.

    retention:     share of the pool to keep, met exactly: round(retention * n) rows. In (0, 1].
    seed:          of the clustering, and of keep="random".
    keep:          which rows fill a cluster's quota: "hard", the farthest from the centroid (the paper), "easy", the
                   closest (equals of both: pool order), or "random".
    n_clusters:    "auto" for round(sqrt(n)).
    temperature:   t above, positive; the lower, the less even the shares.
    neighbors:     nearest other centroids that d_inter is taken over, or all where there are fewer.
    subtract_mean: as in MedDEL.

    Source: arXiv 2401.04578, Section 3; temperature and neighbours as there. Where fewer rows are kept than there are
    clusters, the one row each is waived.
    """

    retention: float
    seed: int = 0
    keep: Literal["hard", "easy", "random"] = "hard"
    n_clusters: int | Literal["auto"] = "auto"
    temperature: float = 0.1
    neighbors: int = 20
    subtract_mean: bool = False

    def __post_init__(self) -> None:
        checks.common(self)
        checks.choice("keep", self.keep, ("hard", "easy", "random"))
        checks.clusters(self.n_clusters)
        checks.count("neighbors", self.neighbors, 1)
        if not (checks.is_number(self.temperature) and 0 < self.temperature < float("inf")):
            raise InvalidArgument(f"temperature must be a positive number, got {self.temperature!r}")

    @own_threads()
    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        readable = Readable.of(embeddings)
        target = readable.rows_to_keep(self.retention)
        vectors = readable.vectors(self.subtract_mean)
        n = len(vectors)
        clusters = cluster(vectors, np.arange(n), None if self.n_clusters == "auto" else self.n_clusters, self.seed)
        _, size = np.unique(clusters.label, return_counts=True)  # a cluster may have lost all its rows
        quota = quotas(target * _shares(complexity(clusters, self.neighbors), self.temperature), size, target)
        order = np.lexsort((self._key(clusters.cosine), clusters.label))
        first = np.cumsum(size) - size
        rows = [order[start : start + count] for start, count in zip(first, quota, strict=True)]
        settings = {"selector": "density", **asdict(self)}
        kept = marked(n, np.concatenate(rows))
        return readable.selection(kept, settings, clusters.label, distance(clusters.cosine))

    def _key(self, cosine: NDArray[np.float32]) -> NDArray[np.floating] | NDArray[np.int64]:
        """What rows of a cluster are sorted by, ascending; lexsort leaves equals in the pool's order."""
        if self.keep == "random":
            return np.random.default_rng(self.seed).permutation(len(cosine))
        return cosine if self.keep == "hard" else -cosine


def complexity(clusters: Clustering, neighbors: int) -> NDArray[np.float64]:
    """d_inter * d_intra of every cluster that has rows, in [0, 4]; with one cluster d_inter is 0."""
    used, place = np.unique(clusters.label, return_inverse=True)
    intra = np.bincount(place, 1 - clusters.cosine.astype(np.float64)) / np.bincount(place)
    apart = 1 - clusters.centroids.exact_tile(used, clusters.centroids, used).astype(np.float64)
    np.fill_diagonal(apart, np.inf)
    nearest = np.sort(apart, axis=1)[:, : min(neighbors, len(used) - 1)]
    answer: NDArray[np.float64] = intra * nearest.sum(axis=1) / max(1, nearest.shape[1])
    return answer


def _shares(complexity: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Softmax of C / t, (k,) float64 of sum 1."""
    with np.errstate(over="ignore"):  # at a low temperature the others' shares are 0
        powers = np.exp((complexity - complexity.max()) / temperature)
    answer: NDArray[np.float64] = powers / powers.sum()
    return answer
