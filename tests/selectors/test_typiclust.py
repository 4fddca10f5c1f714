"""TypiClust: of every cluster the row whose nearest neighbours in it are nearest, worked out the long way."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

import meddel_hf.selectors.typiclust as typiclust
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.selectors import TypiClust


def spreads(cosine: np.ndarray, rows: list[int], most: int) -> dict[int, float]:
    """Of each row of a cluster: mean distance to the nearest others, as many as `most`, or half of the cluster."""
    count = min(most, max(1, len(rows) // 2))
    answer = {}
    for row in rows:
        apart = sorted(oracle.distances(cosine[row, other]) for other in rows if other != row)[:count]
        answer[row] = sum(apart) / len(apart) if apart else 0.0
    return answer


def check_typical(x: np.ndarray, selection, target: int, most: int) -> None:
    table, cosine = selection.table, oracle.cosines(x)
    label, kept = table["cluster"].to_numpy(), table["kept"].to_numpy()
    assert kept.sum() == target
    clusters = {int(c): [int(row) for row in np.flatnonzero(label == c)] for c in np.unique(label)}
    assert len(clusters) <= target
    for rows in clusters.values():
        spread = spreads(cosine, rows, most)
        stays, goes = ([spread[row] for row in rows if kept[row] == kind] for kind in (True, False))
        assert stays
        assert not goes or max(stays) <= min(goes) + 1e-6
        best = [row for row in rows if kept[row] and spread[row] <= min(spread.values()) + 1e-6]
        near = table["distance"].to_numpy()[rows]
        assert any(np.allclose(near, oracle.distances(cosine[rows, row]), atol=1e-6) for row in best)
    # A turn each, the largest first: nobody is two turns behind another who has a row left.
    count = {c: int(kept[rows].sum()) for c, rows in clusters.items()}
    for a, first in clusters.items():
        for b, second in clusters.items():
            if count[a] < len(first):
                assert count[b] <= count[a] + 1
                if count[b] == count[a] + 1:
                    assert len(second) >= len(first)


@pytest.mark.parametrize("most", [1, 3, 20])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_the_most_typical_row_of_every_cluster(name, most):
    x = oracle.INPUTS[name]()
    for retention in (0.05, 0.1, 0.4, 1.0):
        if target := round(retention * len(x)):
            check_typical(x, TypiClust(retention, 1, most).select(x), target, most)


@pytest.mark.parametrize("name", ["noise", "clumps", "copies", "concentrated"])
def test_more_clusters_than_one_clustering_makes(name, monkeypatch):
    monkeypatch.setattr(typiclust, "_AT_ONCE", 6)
    x = oracle.INPUTS[name]()
    for retention in (0.2, 0.5, 0.9):
        check_typical(x, TypiClust(retention, 1).select(x), round(retention * len(x)), 20)
    if name != "copies":
        clusters = typiclust.fine_clusters(Vectors.prepare(x), 20, seed=0)
        assert len(clusters) >= 17  # k-means may leave some empty
        np.testing.assert_array_equal(np.sort(np.concatenate(clusters)), np.arange(len(x)))


def test_a_dense_place_is_typical_and_an_outlier_is_not():
    rng = np.random.default_rng(0)
    dense = np.array([1, 0, 0]) + 0.01 * rng.standard_normal((20, 3))
    wide = np.array([1, 0, 0]) + 0.4 * rng.standard_normal((20, 3))
    kept = TypiClust(1 / 40).select(np.concatenate([wide, dense]).astype(np.float32)).kept
    assert int(kept[0]) >= 20


def test_of_equals_the_earlier_row():
    assert TypiClust(0.1).select(np.ones((20, 3), np.float32)).kept == ["0", "1"]


def test_neighbours_are_counted():
    with pytest.raises(InvalidArgument, match="neighbors must be at least 1, got 0"):
        TypiClust(0.5, neighbors=0)
