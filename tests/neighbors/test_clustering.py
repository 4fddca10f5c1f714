"""Spherical k-means: exact assignments, centroids that are mean directions, and every degenerate pool."""

from __future__ import annotations

import faiss
import numpy as np
import oracle
import pytest
import torch

import meddel_hf.neighbors.clustering as clustering
import meddel_hf.neighbors.cosines as neighbors
from meddel_hf.neighbors.clustering import cluster, distance
from meddel_hf.neighbors.cosines import Vectors


def blobs(k: int, each: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.standard_normal((d, k)))[0].T  # orthogonal: as far apart as can be
    truth = rng.permutation(np.repeat(np.arange(k), each))
    return (centres[truth] + 0.02 * rng.standard_normal((k * each, d))).astype(np.float32), truth


@pytest.mark.parametrize("name", oracle.INPUTS)
@pytest.mark.parametrize("k", [None, 1, 4, 1000])
def test_every_row_has_its_nearest_centroid(name, k):
    x = oracle.INPUTS[name]()
    rows = np.random.default_rng(0).permutation(len(x))[: max(1, len(x) - 2)]
    rows.sort()
    found = cluster(Vectors.prepare(x), rows, k, seed=0)
    expected_k = min(len(rows), k or max(1, round(np.sqrt(len(rows)))))
    assert len(found.centroids) == expected_k
    cosine = oracle.cosines(x[rows], found.centroids.base)
    np.testing.assert_array_equal(found.label, cosine.argmax(axis=1))  # argmax: equals go to the lower cluster
    np.testing.assert_array_equal(found.cosine, cosine.max(axis=1))


def test_centroids_are_mean_directions_once_nothing_moves():
    x, _ = blobs(3, 20, 8)  # fewer than 64 rows a cluster: all of them train
    found = cluster(Vectors.prepare(x), np.arange(60), 3, seed=1)
    unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    for c in range(3):
        mean = unit[found.label == c].mean(axis=0)
        np.testing.assert_allclose(oracle.cosines(mean[None], found.centroids.base[[c]]), 1, atol=1e-7)


def test_clear_clusters_are_found_about_as_well_as_by_faiss():
    x, _ = blobs(8, 50, 16)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    ours = min(
        float((distance(cluster(Vectors.prepare(x), np.arange(400), 8, seed).cosine) ** 2).sum()) for seed in range(5)
    )
    rival = faiss.Kmeans(16, 8, spherical=True, nredo=5, seed=1)
    rival.train(unit)
    theirs = float((oracle.distances(oracle.cosines(x, rival.centroids).max(axis=1)) ** 2).sum())
    assert ours <= 1.5 * theirs


def test_the_seed_and_the_rows_alone_decide(monkeypatch):
    x = oracle.clumps(2400, 24)
    rows = np.arange(0, 2400, 2)
    first = cluster(Vectors.prepare(x), rows, None, seed=3)
    threads = torch.get_num_threads()
    for module in (neighbors, clustering):
        monkeypatch.setattr(module, "BLOCK", 500, raising=False)
        monkeypatch.setattr(module, "TILE", 20, raising=False)
    torch.set_num_threads(1)
    try:
        again = cluster(Vectors.prepare(x, screen="float32"), rows, None, seed=3)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(again.label, first.label)
    np.testing.assert_array_equal(again.cosine, first.cosine)
    np.testing.assert_array_equal(again.centroids.base, first.centroids.base)
    assert (cluster(Vectors.prepare(x), rows, None, seed=4).label != first.label).any()


@pytest.mark.parametrize("clusters", [3, 9])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_every_round_is_as_if_every_row_met_every_centroid(name, clusters):
    x = oracle.INPUTS[name]()
    vectors = Vectors.prepare(x)
    draw = clustering.Draw.among(len(x), clusters, seed=2)
    unit = vectors.unit_rows(draw.sample).astype(np.float64)
    centroids, label = x[draw.first].astype(np.float64), None
    for _ in range(20):
        new = oracle.cosines(x[draw.sample], centroids).argmax(axis=1)  # the first of equals
        if label is not None and (new == label).all():
            break
        label = new
        for c in set(label.tolist()):
            total = unit[label == c].sum(axis=0)
            centroids[c] = total if np.linalg.norm(total) > 1e-6 else centroids[c]
    found = cluster(vectors, np.arange(len(x)), clusters, seed=2)
    np.testing.assert_allclose(np.diag(oracle.cosines(centroids, found.centroids.base)), 1, atol=2**-23)
    np.testing.assert_array_equal(found.label, oracle.cosines(x, found.centroids.base).argmax(axis=1))


def test_equal_rows_fill_one_cluster_and_leave_the_others_empty():
    found = cluster(Vectors.prepare(np.full((50, 4), 0.7, np.float32)), np.arange(50), 6, seed=0)
    assert (found.label == 0).all()
    assert (found.cosine == 1).all()
    assert len(found.centroids) == 6


def test_rows_that_cancel_out_do_not_break_the_mean():
    found = cluster(Vectors.prepare(np.array([[1, 0], [-1, 0]] * 5, np.float32)), np.arange(10), 1, seed=0)
    assert (found.label == 0).all()
    assert np.isfinite(found.centroids.base).all()


def test_distance_is_euclidean_between_unit_vectors():
    x = oracle.noise(30, 5).astype(np.float64)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    got = distance(oracle.cosines(x).astype(np.float32))
    np.testing.assert_allclose(got[expected > 0.01], expected[expected > 0.01], atol=1e-5)
    np.testing.assert_array_equal(distance(np.array([1, 0.5, -1], np.float32)), [0, 1, 2])
