"""Nearest rows that processes ask for together are those of the oracle, ties and floors included."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from meddel_hf.neighbors.clustering import cluster
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.knn import nearest_many
from meddel_hf.neighbors.shared import nearest
from meddel_hf.runtime import shared_work
from meddel_hf.runtime.shard import Shard
from meddel_hf.runtime.shared_work import SharedWork, sharing


@pytest.mark.parametrize("name", [name for name, make in oracle.INPUTS.items() if len(make()) >= 40])
def test_nearest(name, tmp_path, monkeypatch):
    monkeypatch.setattr(shared_work, "_LEAST", 100)
    x = oracle.INPUTS[name]()
    vectors, cosine = Vectors.prepare(x), oracle.cosines(x)
    rows, cols = np.arange(0, len(x), 2), np.arange(1, len(x), 3)
    many = nearest_many(vectors, rows, vectors, cols, 4)
    for index in (1, 2):
        work = SharedWork(tmp_path / "parts", {}, Shard(index, 2), lambda: False)
        with sharing(work):
            where, value = nearest(vectors, rows, vectors, cols)
            np.testing.assert_array_equal(where, cosine[np.ix_(rows, cols)].argmax(axis=1))
            np.testing.assert_array_equal(value, cosine[np.ix_(rows, cols)].max(axis=1).astype(np.float32))
            floor = np.where(np.arange(len(rows)) % 2, 2, -2).astype(np.float32)
            at, best = nearest(vectors, rows, vectors, cols, floor)
            np.testing.assert_array_equal(best, np.where(floor > 1, floor, value))
            np.testing.assert_array_equal(at, np.where(floor > 1, 0, where))
            for mine, theirs in zip(nearest_many(vectors, rows, vectors, cols, 4), many, strict=True):
                np.testing.assert_array_equal(mine, theirs)
        assert (work.done > 0) == (index == 1)


def test_clusters_are_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_work, "_LEAST", 1000)
    vectors = Vectors.prepare(oracle.clumps(400, 24))
    alone = cluster(vectors, np.arange(400), 12, 3)
    for index in (1, 2):
        with sharing(SharedWork(tmp_path / "parts", {}, Shard(index, 2), lambda: False)):
            together = cluster(vectors, np.arange(400), 12, 3)
        assert together.label.tobytes() == alone.label.tobytes()
        assert together.cosine.tobytes() == alone.cosine.tobytes()
        assert together.centroids.base.tobytes() == alone.centroids.base.tobytes()
    assert len(list((tmp_path / "parts").glob("nearest-*"))) > 2, "every round of the training is shared"
