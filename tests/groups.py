"""Groups of rows that MedDEL compares, worked out again in float64 from the centroids that k-means ends with."""

from __future__ import annotations

import numpy as np
import oracle

from meddel_hf.neighbors.clustering import cluster
from meddel_hf.neighbors.cosines import Vectors


def clusters_of(x: np.ndarray, n_clusters=None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(label, distance) of every row to the nearest of the centroids that k-means ends with."""
    centroids = cluster(Vectors.prepare(x), np.arange(len(x)), n_clusters, seed).centroids.base
    cosine = oracle.cosines(x, centroids)
    return cosine.argmax(axis=1), oracle.distances(cosine.max(axis=1)).astype(np.float32)


def keep_order(x: np.ndarray, rows: np.ndarray, scope: str, keep: str, distance: np.ndarray) -> np.ndarray:
    if scope == "pool":
        unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
        middle = unit.sum(axis=0)
        distance = np.zeros(len(x)) if np.linalg.norm(middle) < 1e-6 else -oracle.cosines(x, middle[None])[:, 0]
    key = distance if keep == "closest" else -distance
    return np.array(sorted(rows, key=lambda row: key[row]))  # sorted() leaves equals in the pool's order


def expected_groups(x, scope, keep, epsilon, n_clusters=None):
    label, distance = clusters_of(x, n_clusters)
    stays = np.ones(len(x), bool) if epsilon is None else ~(distance > np.float32(epsilon))
    rows = np.flatnonzero(stays)
    if scope == "pool":
        return [keep_order(x, rows, scope, keep, distance)], label, distance, ~stays
    parts = [rows[label[rows] == c] for c in np.unique(label[rows])]
    return [keep_order(x, part, scope, keep, distance) for part in parts], label, distance, ~stays


def groupings(n: int) -> list[list[np.ndarray]]:
    """All rows in one group; several groups (one of a single row) with three rows in none."""
    order = np.random.default_rng(n).permutation(n)
    left = order[: max(1, n - 3)]
    return [[order], [part for part in np.split(left, [1, 1 + len(left) // 3]) if len(part)]]
