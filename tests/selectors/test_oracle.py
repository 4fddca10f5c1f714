"""Each rival against its definition, worked out the long way in float64."""

from __future__ import annotations

from itertools import product
from math import exp

import numpy as np
import oracle
import pytest
from groups import expected_groups

import meddel_hf.selectors.kcentre as kcentre
from meddel_hf.neighbors.clustering import cluster
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.selectors import DensityQuotas, KCentre, Prototypicality, SemDeDup
from meddel_hf.selectors.quotas import quotas


def farthest_first(cosine: np.ndarray, first: int, count: int) -> list[int]:
    centres, nearest = [first], cosine[first].copy()
    while len(centres) < count:
        nearest[centres] = np.inf
        centres.append(int(nearest.argmin()))  # argmin: the first of equals
        nearest = np.maximum(nearest, cosine[centres[-1]])
    return centres


def check_traversal(selection, cosine: np.ndarray, count: int, first: int) -> None:
    centres = farthest_first(cosine, first, count)
    assert selection.kept == [str(row) for row in sorted(centres)]
    label, best = cosine[:, centres].argmax(axis=1), cosine[:, centres].max(axis=1)
    label[centres], best[centres] = np.arange(count), 1
    assert selection.table["cluster"].to_pylist() == label.tolist()
    np.testing.assert_array_equal(selection.table["distance"].to_numpy(), oracle.distances(best).astype(np.float32))


@pytest.mark.parametrize("together", [1, 7, 2048])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_k_centre_is_the_farthest_first_traversal(name, together, monkeypatch):
    monkeypatch.setattr(kcentre, "_CANDIDATES", together)
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    for retention, seed in ((0.1, 0), (0.5, 1), (0.9, 2), (1.0, 3)):
        if count := round(retention * len(x)):
            selection = KCentre(retention, seed).select(x)
            assert selection.summary.kept == count
            first = selection.table["cluster"].to_pylist().index(0)  # it is drawn; a copy of it may stand before it
            while not selection.table["kept"][first].as_py():
                first = selection.table["cluster"].to_pylist().index(0, first + 1)
            check_traversal(selection, cosine, count, first)


def test_k_centre_from_enough_rows_for_every_screen():
    x = oracle.clumps(4100, 32, seed=4)
    cosine = oracle.cosines(x)
    selection = KCentre(0.3, first="medoid").select(x)
    check_traversal(selection, cosine, 1230, int(cosine.mean(axis=1).argmax()))


@pytest.mark.parametrize("name", oracle.INPUTS)
def test_the_medoid_has_the_greatest_mean_cosine(name):
    x = oracle.INPUTS[name]()
    table = KCentre(1.0, first="medoid").select(x).table
    first = table["cluster"].to_pylist().index(0)
    mean = oracle.cosines(x).mean(axis=1)
    assert mean[first] >= mean.max() - 2 * oracle.STEP


def test_k_centre_draws_any_row_first():
    x = oracle.noise(6, 4)
    assert {KCentre(1 / 6, seed).select(x).kept[0] for seed in range(60)} == set("012345")


def test_k_centre_of_many_copies_takes_seconds():
    x = np.repeat(oracle.noise(40, 16), 250, axis=0)  # after 40 centres nobody is farther than anybody
    kept = KCentre(0.02, first="medoid").select(x).kept
    assert {int(id) // 250 for id in kept} == set(range(40))
    assert len(kept) == 200


def clustered(x: np.ndarray, k: int | None, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(label, cosine to the centroid, cosines between centroids) from the centroids that k-means ends with."""
    centroids = cluster(Vectors.prepare(x), np.arange(len(x)), k, seed).centroids.base
    cosine = oracle.cosines(x, centroids)
    return cosine.argmax(axis=1), cosine.max(axis=1), oracle.cosines(centroids)


@pytest.mark.parametrize("keep", ["easy", "hard"])
@pytest.mark.parametrize("k", ["auto", 1, 5])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_prototypes_rank_the_whole_pool(name, k, keep):
    x = oracle.INPUTS[name]()
    label, cosine, _ = clustered(x, None if k == "auto" else k, 3)
    ranking = sorted(range(len(x)), key=lambda row: cosine[row] if keep == "hard" else -cosine[row])
    for retention in (0.2, 0.5, 1.0):
        if count := round(retention * len(x)):
            selection = Prototypicality(retention, 3, keep, k).select(x)
            assert selection.kept == [str(row) for row in sorted(ranking[:count])]
            assert selection.table["cluster"].to_pylist() == label.tolist()
            expected = oracle.distances(cosine).astype(np.float32)
            np.testing.assert_array_equal(selection.table["distance"].to_numpy(), expected)


@pytest.mark.parametrize("keep", ["farthest", "closest"])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_semdedup_at_the_epsilon_it_finds(name, keep):
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    for retention in (0.1, 0.5, 1.0):
        count = round(retention * len(x))
        if count < 2:  # fewer than clusters
            continue
        selection = SemDeDup(retention, keep=keep, n_clusters=2).select(x)
        groups, label, distance, _ = expected_groups(x, "cluster", keep, None, 2)
        kept = oracle.filled(cosine, groups, oracle.semdedup(cosine, groups, selection.eta), count)
        np.testing.assert_array_equal(selection.table["kept"].to_numpy(), kept)
        assert selection.table["cluster"].to_pylist() == label.tolist()
        np.testing.assert_array_equal(selection.table["distance"].to_numpy(), distance)


def wishes(label: np.ndarray, cosine: np.ndarray, between: np.ndarray, total: int, t: float, m: int) -> dict:
    """cluster -> rows that it should keep, by the paper's formula; clusters without rows have no share."""
    used = [int(c) for c in np.unique(label)]
    complexity = {}
    for c in used:
        intra = float(np.mean([1 - value for value in cosine[label == c]]))
        nearest = sorted(1 - between[c, other] for other in used if other != c)[:m]
        complexity[c] = intra * (sum(nearest) / len(nearest) if nearest else 0)
    top = max(complexity.values())
    powers = {c: exp((value - top) / t) for c, value in complexity.items()}
    return {c: total * power / sum(powers.values()) for c, power in powers.items()}


def check_optimal(quota: dict[int, int], wish: dict[int, float], least: int, size: dict[int, int]) -> None:
    """No row moved from one part to another brings the quotas closer to the wishes: enough for a convex sum."""
    assert all(least <= quota[c] <= size[c] for c in quota)
    for a in quota:
        for b in quota:
            if a != b and quota[a] > least and quota[b] < size[b]:
                before = (quota[a] - wish[a]) ** 2 + (quota[b] - wish[b]) ** 2
                after = (quota[a] - 1 - wish[a]) ** 2 + (quota[b] + 1 - wish[b]) ** 2
                assert after >= before - 1e-7


@pytest.mark.parametrize("keep", ["hard", "easy", "random"])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_density_keeps_what_each_cluster_s_complexity_asks_for(name, keep):
    x = oracle.INPUTS[name]()
    for retention, k, t, m in ((0.1, "auto", 0.1, 20), (0.5, 5, 0.02, 2), (0.8, 4, 1.0, 20), (1.0, 1, 0.1, 20)):
        if not (total := round(retention * len(x))):
            continue
        label, cosine, between = clustered(x, None if k == "auto" else k, 1)
        selection = DensityQuotas(retention, 1, keep, k, t, m).select(x)
        kept = selection.table["kept"].to_numpy()
        assert selection.table["cluster"].to_pylist() == label.tolist()
        size = {int(c): int((label == c).sum()) for c in np.unique(label)}
        quota = {c: int(kept[label == c].sum()) for c in size}
        assert sum(quota.values()) == total
        check_optimal(quota, wishes(label, cosine, between, total, t, m), int(total >= len(size)), size)
        for c in size if keep != "random" else ():
            rows = [int(row) for row in np.flatnonzero(label == c)]
            ranking = sorted(rows, key=lambda row: cosine[row] if keep == "hard" else -cosine[row])
            assert sorted(ranking[: quota[c]]) == [row for row in rows if kept[row]]


def test_density_at_temperatures_near_nothing_and_without_end():
    x = oracle.clumps(200, 8)
    assert DensityQuotas(0.2, temperature=1e-300).select(x).summary.kept == 40
    even = DensityQuotas(0.2, temperature=1e9, n_clusters=4).select(x).table
    rows = even.filter(even["kept"])["cluster"].to_pylist()
    assert [rows.count(c) for c in range(4)] == [10] * 4


def test_density_random_draws_within_the_same_quotas():
    x = oracle.clumps(300, 8)
    hard, drawn = (DensityQuotas(0.3, keep=keep).select(x).table for keep in ("hard", "random"))
    counts = [np.bincount(table.filter(table["kept"])["cluster"].to_numpy()) for table in (hard, drawn)]
    np.testing.assert_array_equal(counts[0], counts[1])
    assert hard["kept"].to_pylist() != drawn["kept"].to_pylist()


def test_quotas_are_the_closest_whole_numbers_of_all():
    rng = np.random.default_rng(0)
    for _ in range(150):
        most = rng.integers(1, 6, rng.integers(1, 5))
        total = int(rng.integers(0, most.sum() + 1))
        wish = rng.dirichlet(np.ones(len(most))) * total if rng.random() < 0.7 else rng.uniform(-2, 9, len(most))
        least = int(total >= len(most))
        ways = [q for q in product(*(range(least, m + 1) for m in most)) if sum(q) == total]
        best = min(((np.array(q) - wish) ** 2).sum() for q in ways)
        found = quotas(wish, most, total)
        assert tuple(found) in ways
        assert ((found - wish) ** 2).sum() <= best + 1e-9


def test_equal_parts_are_served_in_order():
    assert quotas(np.full(3, 10 / 3), np.full(3, 10), 10).tolist() == [4, 3, 3]
    assert quotas(np.full(4, 0.5), np.full(4, 3), 2).tolist() == [1, 1, 0, 0]
    assert quotas(np.array([1 / 3, 7 / 3, 4 / 3]), np.array([9, 9, 9]), 4).tolist() == [1, 2, 1]
