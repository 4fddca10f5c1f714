"""The nearest rows of every row: exact ones against all cosines in float64, approximate ones by what they miss."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch

import meddel_hf.neighbors.knn as knn
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.knn import nearest_many, nearest_other, nearest_other_in, neighbors
from meddel_hf.neighbors.row_source import ArrayRows


def ranked(cosine: np.ndarray, k: int) -> np.ndarray:
    """(m, k) columns of each row, best first, equals by number."""
    return np.array([sorted(range(len(row)), key=lambda j: -row[j])[:k] for row in cosine], np.int64)


def check_nearest(x: np.ndarray, k: int, screen: str, rows: np.ndarray, cols: np.ndarray) -> None:
    vectors = Vectors.prepare(x, screen=screen)
    where, cosine = nearest_many(vectors, rows, vectors, cols, k)
    expected = oracle.cosines(x[rows], x[cols])
    np.testing.assert_array_equal(where, ranked(expected, k))
    np.testing.assert_array_equal(cosine, np.take_along_axis(expected, where, axis=1))


@pytest.mark.parametrize("small", [0, knn._SMALL])
@pytest.mark.parametrize("screen", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_the_nearest_are_the_nearest(name, screen, small, monkeypatch):
    monkeypatch.setattr(knn, "_SMALL", small)  # 0: the way of large pools
    x = oracle.INPUTS[name]()
    rows = np.random.default_rng(0).permutation(len(x))[: max(1, len(x) - 3)]
    for k in (1, 4, len(x) + 3):
        check_nearest(x, k, screen, rows, np.sort(rows))


@pytest.mark.parametrize("crowd", [1, knn._CROWD])
@pytest.mark.parametrize("screen", ["float32", "bfloat16"])
@pytest.mark.parametrize(("kind", "strip"), [("clumps", 2**26), ("concentrated", 2**26), ("copies in a row", 2**14)])
def test_the_nearest_of_many(kind, strip, screen, crowd, monkeypatch):
    monkeypatch.setattr(knn, "_CROWD", crowd)
    monkeypatch.setattr(knn, "_STRIP", strip)
    x = {
        "clumps": lambda: oracle.clumps(2600, 32, seed=4),
        "concentrated": lambda: (oracle.noise(2600, 32) * 0.1 + 1).astype(np.float32),
        "copies in a row": lambda: np.repeat(oracle.noise(100, 16), 26, axis=0),  # as frames of a video stand
    }[kind]()
    check_nearest(x, 20, screen, np.arange(0, 2600, 9), np.arange(2600))  # 40 parts of 64 columns, and a rest


def test_a_graph_names_the_nearest_others():
    for name in oracle.INPUTS:
        x = oracle.INPUTS[name]()
        cosine = oracle.cosines(x)
        for k in (1, 5, len(x)):
            found = neighbors(Vectors.prepare(x), k)
            others = cosine.copy()
            np.fill_diagonal(others, -3)  # last of all
            expected = ranked(others, min(k, len(x) - 1)).reshape(found.rows.shape)
            np.testing.assert_array_equal(found.rows, expected)
            np.testing.assert_array_equal(found.cosine, np.take_along_axis(cosine, expected, axis=1))
            assert found.exact


@pytest.mark.parametrize("threads", [1, 2])
def test_an_approximate_graph_misses_few(threads):
    x = oracle.clumps(3000, 24, spread=0.5)
    vectors = Vectors.prepare(x)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = neighbors(vectors, 10, seed=1, exact_up_to=2999)
    finally:
        torch.set_num_threads(before)
    assert not found.exact
    exact = neighbors(vectors, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.rows, exact.rows, strict=True)])
    assert recall > 0.85
    cosine = oracle.cosines(x)
    for row, (near, value) in enumerate(zip(found.rows, found.cosine, strict=True)):
        assert row not in near
        assert len(set(near)) == 10
        np.testing.assert_array_equal(value, cosine[row, near])
        assert (np.diff(value) <= 0).all()


def test_rows_without_enough_neighbours_in_reach_say_so():
    x = np.concatenate([oracle.noise(60, 8), -oracle.noise(3, 8) * 50]).astype(np.float32)
    found = neighbors(Vectors.prepare(x), 62, exact_up_to=1)
    none = found.rows < 0
    assert none.sum() == (found.cosine == -2).sum()
    for row, near in enumerate(found.rows):
        there = near[near >= 0]
        assert len(set(there)) == len(there)
        assert row not in there
    copies = neighbors(Vectors.prepare(np.ones((40, 3), np.float32)), 5, exact_up_to=1)
    assert copies.rows[0].tolist() == [1, 2, 3, 4, 5]
    assert copies.rows[39].tolist() == [0, 1, 2, 3, 4]


def test_the_nearest_other_row_is_never_the_row_itself():
    x = oracle.copies(60, 6)
    vectors, cosine = Vectors.prepare(x), oracle.cosines(x)
    np.fill_diagonal(cosine, -9)
    rows, cols = np.arange(0, 60, 7), np.arange(3, 60)
    other, value = nearest_other(vectors, rows, cols)
    assert np.array_equal(value, cosine[rows][:, cols].max(axis=1).astype("f4"))
    assert (other != rows).all()
    assert np.array_equal(cosine[rows, other].astype("f4"), value)
    alone = nearest_other(vectors, np.array([4]), np.array([4]))
    assert (alone[0].tolist(), alone[1].tolist()) == ([4], [-1])


@pytest.mark.parametrize("n", [1, 2, 1025, 2600])
@pytest.mark.parametrize("kind", [oracle.copies, oracle.noise])
def test_the_nearest_other_row_of_a_source_that_is_read_in_blocks(kind, n):
    x = kind(n, 6)
    x[-1] = -x[0]
    rows = np.unique(np.concatenate([np.arange(0, n, 97), [n - 1]]))
    other, value = nearest_other_in(ArrayRows(x), rows, 1)
    cosine = oracle.cosines(x[rows], x)
    cosine[np.arange(len(rows)), rows] = -9
    if n == 1:
        assert (other.tolist(), value.tolist()) == ([0], [-1])
        return
    assert np.array_equal(other, cosine.argmax(axis=1)), "equals: the earlier"
    assert np.array_equal(value, cosine.max(axis=1).astype("f4"))
