"""Spherical k-means on unit embeddings, and the cluster of every row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meddel_hf.neighbors.cosines import Rows, Vectors
from meddel_hf.neighbors.shared import nearest, nearest_place
from meddel_hf.runtime.threads import own_threads

_SAMPLE_PER_CLUSTER = 64
_MOST_ROUNDS = 20


@dataclass(frozen=True, eq=False)
class Clustering:
    """label: (m,) int64 cluster of each row; cosine: (m,) float32 to its centroid; centroids: k rows."""

    label: Rows
    cosine: NDArray[np.float32]
    centroids: Vectors


def cluster(vectors: Vectors, rows: Rows, n_clusters: int | None, seed: int) -> Clustering:
    """Cluster `rows`: centroids are trained on a sample of 64 rows per cluster, then every row is assigned.

    n_clusters: None for round(sqrt(len(rows))); never more than there are rows.
    The result depends on the rows and the seed only: assignments are exact (equals go to the lower cluster), sums run
    in float64 in row order. A cluster that loses all its rows keeps its centroid.
    """
    draw = Draw.among(len(rows), n_clusters, seed)
    sample = rows[draw.sample]
    some, first = vectors.like(vectors.base[sample]), np.searchsorted(draw.sample, draw.first)
    centroids = trained(some, first, vectors.unit_rows(sample))
    label, cosine = nearest(vectors, rows, centroids, np.arange(len(centroids)))
    return Clustering(label, cosine, centroids)


@dataclass(frozen=True, eq=False)
class Draw:
    """Which rows train centroids. sample: their numbers, ascending; first: those that are the first centroids."""

    sample: Rows
    first: Rows

    @classmethod
    def among(cls, n: int, n_clusters: int | None, seed: int) -> Draw:
        """A sample of n rows, 64 per cluster."""
        k = min(n, n_clusters or by_default(n))
        rng = np.random.default_rng(seed)
        sample = np.sort(rng.choice(n, min(n, sampled(k)), replace=False))
        return cls(sample, np.sort(rng.choice(sample, k, replace=False)))


def sampled(clusters: int) -> int:
    """Rows that train so many centroids, where there are as many."""
    return _SAMPLE_PER_CLUSTER * clusters


def trained(sample: Vectors, first: Rows, unit: NDArray[np.floating]) -> Vectors:
    """Centroids of a sample, k rows.

    first: rows of it that begin as centroids. unit: (len(sample), d), the sample at length 1.
    """
    centroids = sample.like(sample.base[first])
    label, moved = np.zeros(len(sample), np.int64), np.ones(len(first), bool)
    for number in range(_MOST_ROUNDS):
        new = _assigned(sample, centroids, moved, label)
        if number and np.array_equal(new, label):
            break
        before, centroids, label = centroids, _moved(centroids, unit, new), new
        moved = (centroids.base != before.base).any(axis=1)
    return centroids


def _assigned(sample: Vectors, centroids: Vectors, moved: NDArray[np.bool_], label: Rows) -> Rows:
    """The nearest centroid of each row; label: that before some of them moved, (k,) bool.

    Where a row's own did not move, only those that did can be nearer.
    """
    new, others = label.copy(), np.flatnonzero(moved)
    away, rest = np.flatnonzero(moved[label]), np.flatnonzero(~moved[label])
    new[away] = nearest_place(sample, away, centroids, np.arange(len(moved)))
    if len(rest) and len(others):
        own = sample.exact(rest, centroids, label[rest])
        at, best = nearest(sample, rest, centroids, others, np.nextafter(own, np.float32(-2)))
        nearer = (best > own) | ((best == own) & (others[at] < label[rest]))
        new[rest[nearer]] = others[at[nearer]]
    return new


def distance(cosine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean distance between unit vectors of that cosine, in [0, 2]."""
    return np.sqrt(np.maximum(0, 2 - 2 * cosine.astype(np.float64))).astype(np.float32)


def _moved(centroids: Vectors, unit: NDArray[np.floating], label: Rows) -> Vectors:
    """Each centroid at the mean direction of its rows."""
    moved = centroids.base / centroids.norms[:, None]
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], np.arange(len(moved) + 1))
    filled = np.flatnonzero(starts[1:] > starts[:-1])

    def move(part: slice) -> None:
        for c in filled[part]:
            total = unit[order[starts[c] : starts[c + 1]]].sum(axis=0, dtype=np.float64)
            if np.linalg.norm(total) > 1e-6:  # rows that cancel out have no mean direction
                moved[c] = total

    with own_threads() as threads:
        threads.each(move, threads.parts(len(filled)))
    return centroids.like(moved)


def by_default(rows: int) -> int:
    """Clusters of so many rows where nobody says how many: round(sqrt(rows)), 1 at least."""
    return int(max(1, round(rows**0.5)))
