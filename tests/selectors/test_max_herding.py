"""MaxHerding: lazy greedy on a graph against plain greedy on every pair, and against the best of all selections."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import oracle
import pytest

import meddel_hf.selectors.max_herding as max_herding
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.knn import neighbors
from meddel_hf.selectors import MaxHerding


def dense(x: np.ndarray, sigma: float, k: int | None = None) -> np.ndarray:
    """(n, n) kernel; with k, 0 between rows of which neither is among the k nearest others of the other."""
    cosine = oracle.cosines(x)
    kernel = np.exp(-(oracle.distances(cosine) ** 2) / sigma**2)
    if k is not None:
        near = np.zeros(kernel.shape, bool)
        for row in range(len(x)):
            others = [other for other in range(len(x)) if other != row]
            near[row, sorted(others, key=lambda other: -cosine[row, other])[:k]] = True
        kernel = np.where(near | near.T, kernel, 0)
    np.fill_diagonal(kernel, 1)
    return kernel


def plain_greedy(kernel: np.ndarray, count: int) -> list[int]:
    covered, taken = np.zeros(len(kernel)), []
    for _ in range(count):
        gain = np.maximum(kernel - covered, 0).sum(axis=1)
        gain[taken] = -1
        taken.append(int(gain.argmax()))
        covered = np.maximum(covered, kernel[taken[-1]])
    return taken


def coverage(kernel: np.ndarray, rows) -> float:
    return float(kernel[list(rows)].max(axis=0).mean())


def lazy(x: np.ndarray, sigma: float, k: int, count: int) -> list[int]:
    return max_herding.herd(max_herding.kernel(neighbors(Vectors.prepare(x), k), sigma), count)


def check_greedy(kernel: np.ndarray, taken: list[int]) -> None:
    """Each row adds as much as any could (but for float32), given those before it; none comes twice."""
    assert len(set(taken)) == len(taken)
    covered = np.zeros(len(kernel))
    for place, row in enumerate(taken):
        gain = np.maximum(kernel - covered, 0).sum(axis=1)
        gain[taken[:place]] = -1
        assert gain[row] >= gain.max() - 1e-5
        covered = np.maximum(covered, kernel[row])


@pytest.mark.parametrize("k", [3, 12, 1000])
@pytest.mark.parametrize("sigma", [0.05, 0.7, 3.0])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_it_is_plain_greedy(name, sigma, k):
    x = oracle.INPUTS[name]()
    kernel, taken = dense(x, sigma, k), lazy(x, sigma, k, len(x))
    check_greedy(kernel, taken)
    if name in ("noise", "clumps") and sigma == 0.7:  # where no two rows add the same, but for the last
        assert taken[:12] == plain_greedy(kernel, 12)


def test_it_is_near_the_best_of_all_selections():
    for seed in range(4):
        x = oracle.clumps(13, 5, seed, spread=0.6)
        kernel, taken = dense(x, 0.8), lazy(x, 0.8, 12, 4)
        best = max(coverage(kernel, rows) for rows in combinations(range(13), 4))
        assert (1 - 1 / np.e) * best <= coverage(kernel, taken) <= best + 1e-6


def test_the_selection_takes_a_bandwidth_from_the_data():
    x = oracle.clumps(120, 16, spread=0.6)
    cosine = oracle.cosines(x)
    tenth = np.sort(cosine, axis=1)[:, -11]  # the first is the row itself
    sigma = float(oracle.distances(np.median(tenth)))
    assert max_herding.bandwidth(neighbors(Vectors.prepare(x), 60), 10) == pytest.approx(sigma, rel=1e-6)
    kept = MaxHerding(0.1, neighbors=119).select(x).kept  # 12 of 120: each stands for ten
    assert kept == [str(row) for row in sorted(plain_greedy(dense(x, sigma), 12))]
    assert kept == MaxHerding(0.1, neighbors=119, bandwidth=sigma).select(x).kept
    assert kept != MaxHerding(0.1, neighbors=119, bandwidth=20.0).select(x).kept


def test_neighbours_by_default_are_four_times_what_a_row_stands_for():
    x = oracle.clumps(600, 12, spread=0.6)
    assert MaxHerding(0.01).select(x).kept == MaxHerding(0.01, neighbors=400).select(x).kept
    assert MaxHerding(0.1).select(x).kept == MaxHerding(0.1, neighbors=64).select(x).kept


def test_dense_places_come_first_and_none_comes_twice():
    rng = np.random.default_rng(0)
    centres = np.eye(4)
    x = np.concatenate([centre + 0.02 * rng.standard_normal((size, 4))
                        for centre, size in zip(centres, (40, 30, 20, 10), strict=True)])  # fmt: skip
    place = np.repeat(np.arange(4), (40, 30, 20, 10))
    taken = lazy(x.astype(np.float32), 0.3, 99, 4)
    assert place[taken].tolist() == [0, 1, 2, 3]


def test_a_lower_retention_keeps_a_part_of_what_a_higher_one_keeps():
    x = oracle.clumps(200, 8)
    kept = [set(MaxHerding(r, bandwidth=0.5, neighbors=30).select(x).kept) for r in (0.02, 0.2, 0.6, 1.0)]
    assert kept[0] < kept[1] < kept[2] < kept[3]


def test_an_approximate_graph_covers_about_as_well(monkeypatch):
    x = oracle.clumps(2000, 16, spread=0.5)
    exact = MaxHerding(0.05, bandwidth=0.5).select(x)
    monkeypatch.setattr("meddel_hf.neighbors.knn.neighbors.__defaults__", (0, 1000))
    rough = MaxHerding(0.05, bandwidth=0.5).select(x)
    kernel = dense(x, 0.5)
    ours, theirs = (coverage(kernel, np.flatnonzero(s.table["kept"].to_numpy())) for s in (rough, exact))
    assert rough.kept != exact.kept
    assert ours > 0.98 * theirs


def test_copies_are_taken_once_before_any_is_taken_twice():
    x = np.repeat(oracle.noise(8, 16), 5, axis=0)
    assert {int(row) // 5 for row in MaxHerding(0.2).select(x).kept} == set(range(8))
    assert MaxHerding(0.1).select(np.ones((30, 3), np.float32)).kept == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bandwidth": 0}, "bandwidth must be 'auto' or a positive number, got 0"),
        ({"bandwidth": "wide"}, "bandwidth must be 'auto' or a positive number, got 'wide'"),
        ({"neighbors": 0}, "neighbors must be at least 1"),
        ({"neighbors": "all"}, "neighbors must be a whole number"),
    ],
)
def test_a_bad_option_is_a_sentence(options, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        MaxHerding(0.5, **options)
