"""Balanced draws: shares against one row given out at a time, every branch of the tree against its sisters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import oracle
import pytest
from scipy.stats import chisquare

from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.selectors import Balanced, Random, registry
from meddel_hf.selectors.balanced import levels_of, shares, tree
from meddel_hf.selectors.quotas import even_shares


def one_at_a_time(most: Sequence[int], total: int, order: Sequence[int]) -> list[int]:
    """The next row always goes to the part that has fewest and can take one more; of equals, to the first in order."""
    given = [0] * len(most)
    for _ in range(total):
        taking = [part for part in order if given[part] < most[part]]
        given[min(taking, key=lambda part: given[part])] += 1
    return given


def test_shares_are_what_giving_one_at_a_time_ends_with():
    rng = np.random.default_rng(0)
    for _ in range(300):
        most = rng.integers(0, 9, rng.integers(1, 7))
        total, order = int(rng.integers(0, most.sum() + 1)), rng.permutation(len(most))
        assert even_shares(most, total, order).tolist() == one_at_a_time(most, total, order)
    assert even_shares(np.array([3, 0, 10, 10]), 15, np.array([3, 2, 1, 0])).tolist() == [3, 0, 6, 6]


def check_even(kept: dict[int, int], size: dict[int, int]) -> None:
    """Whoever has a row left is no more than one behind any sister."""
    for a in size:
        for b in size:
            assert kept[a] == size[a] or kept[b] <= kept[a] + 1


@pytest.mark.parametrize("levels", [(1,), (9,), (20, 6), (24, 9, 3)])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_every_branch_has_its_even_share(name, levels):
    x = oracle.INPUTS[name]()
    lowest, above = tree(Vectors.prepare(x), levels, seed=2)
    for retention in (0.1, 0.4, 0.9, 1.0):
        if not (total := round(retention * len(x))):
            continue
        table = Balanced(retention, 2, levels).select(x).table
        kept = table["kept"].to_numpy()
        assert kept.sum() == total
        assert table["cluster"].to_pylist() == lowest.label.tolist()
        path = [[int(c)] for c in lowest.label]  # of each row, its cluster at every level, lowest first
        for parent in above:
            path = [[*steps, int(parent[steps[-1]])] for steps in path]
        for level in range(len(levels)):
            sisters: dict[tuple[int, ...], set[int]] = {}
            for steps in path:
                sisters.setdefault(tuple(steps[level + 1 :]), set()).add(steps[level])
            for mother, children in sisters.items():
                of = {c: [r for r, s in enumerate(path) if s[level:] == [c, *mother]] for c in children}
                check_even({c: int(kept[of[c]].sum()) for c in of}, {c: len(of[c]) for c in of})


@pytest.mark.parametrize("name", oracle.INPUTS)
def test_a_row_is_in_the_cluster_of_its_nearest_centroid(name):
    x = oracle.INPUTS[name]()
    lowest, above = tree(Vectors.prepare(x), (12, 4), seed=0)
    cosine = oracle.cosines(x, lowest.centroids.base)
    np.testing.assert_array_equal(lowest.label, cosine.argmax(axis=1))
    table = Balanced(1.0, 0, (12, 4)).select(x).table
    expected = oracle.distances(cosine.max(axis=1)).astype(np.float32)
    np.testing.assert_array_equal(table["distance"].to_numpy(), expected)
    assert set(np.flatnonzero(above[0] >= 0)) == set(lowest.label)  # clusters without rows are in none above


def test_within_a_cluster_every_row_is_drawn_alike():
    x, times = oracle.clumps(40, 4), 400
    kept = (Balanced(0.25, seed, (1,)).select(x).table["kept"].to_numpy().astype(int) for seed in range(times))
    counts = sum(kept, 0)
    # Of a row the variance is p (1 - p) a draw and not p, and rows of one draw exclude each other: 40/39.
    assert chisquare(counts, [times / 4] * 40).statistic / 0.75 * 39 / 40 < 72.05  # 0.999 of chi-square, 39 degrees


def test_the_remainder_goes_to_any_branch():
    sizes = np.repeat(np.arange(3), 10)
    drawn = {tuple(shares(sizes, [], 1, np.random.default_rng(seed))) for seed in range(40)}
    assert drawn == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_rare_scenes_are_kept_where_chance_loses_them():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((60, 16))
    scene = rng.choice(60, 3000, p=(1 / np.arange(1, 61)) / (1 / np.arange(1, 61)).sum())
    x = (centres[scene] + 0.1 * rng.standard_normal((3000, 16))).astype(np.float32)

    def scenes(selector) -> float:
        return float(np.mean([len(set(scene[selector(0.02, seed).select(x).table["kept"].to_numpy()]))
                              for seed in range(5)]))  # fmt: skip

    assert scenes(Balanced) > 1.2 * scenes(Random)


def test_numbers_of_clusters():
    assert [levels_of(n) for n in (1, 30, 1600, 88_282, 1_000_000)] == [
        [1], [1], [80], [594, 59], [2000, 200, 20]
    ]  # fmt: skip
    assert Balanced(0.5, levels=30).levels == (30,)
    assert registry.make("balanced", retention=0.5, levels=[30, 4]) == Balanced(0.5, levels=(30, 4))
    assert Balanced(0.5, levels=(30, 4)).select(oracle.noise(50, 4)).settings["levels"] == [30, 4]


@pytest.mark.parametrize("levels", [0, (), "many", (10, 0), (4, 10), (4.5,), None, True])
def test_levels_that_are_none(levels):
    with pytest.raises(InvalidArgument, match=r"levels must be 'auto' or numbers of clusters, the lowest level first"):
        Balanced(0.5, levels=levels)
