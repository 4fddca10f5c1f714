"""The near-duplicate graph: every pair above a cosine, once, against plain float64 and against faiss."""

from __future__ import annotations

import faiss
import numpy as np
import oracle
import pytest

import meddel_hf.neighbors.cosines as neighbors
import meddel_hf.neighbors.pairs as pairs_module
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.pairs import pairs_within
from meddel_hf.neighbors.stored_pairs import Pairs

SCREENS = ["float32", "bfloat16"]


@pytest.fixture(params=[(1024, 4096, 4096, 256), (16, 48, 0, 0), (16, 48, 4096, 7)], ids=str)
def tiles(request, monkeypatch):
    block, tile, side_by_side, small_block = request.param
    for module in (neighbors, pairs_module):
        monkeypatch.setattr(module, "BLOCK", block)
        monkeypatch.setattr(module, "TILE", tile)
    monkeypatch.setattr(pairs_module, "SIDE_BY_SIDE", side_by_side)
    monkeypatch.setattr(pairs_module, "_SMALL_BLOCK", small_block)


def as_dict(found: Pairs) -> dict[tuple[int, int], float]:
    assert len(found) == len(set(zip(found.first, found.second, strict=True)))
    return dict(zip(zip(found.first.tolist(), found.second.tolist(), strict=True), found.cosine.tolist(), strict=True))


def in_three(n: int, seed: int = 0) -> list[np.ndarray]:
    """Three groups in any order, some rows left out; a group may be of one row."""
    order = np.random.default_rng(seed).permutation(n)[: max(1, n - 3)]
    return [part for part in np.split(order, [1, 1 + n // 3]) if len(part)]


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_pairs_within_groups(name, screen, tiles):
    x = oracle.INPUTS[name]()
    vectors, cosine = Vectors.prepare(x, screen=screen), oracle.cosines(x)
    for groups in ([np.random.default_rng(0).permutation(len(x))], in_three(len(x))):
        for eta in (-1.0, 0.5, 0.8, 1 - 2**-24):
            found = pairs_within(vectors, groups, eta)
            assert as_dict(found) == oracle.pairs(cosine, groups, eta), eta
            assert found.floor == eta
            order = list(zip(found.first, found.second, strict=True))
            assert order == sorted(order)


def test_all_pairs_are_above_a_floor_below_minus_one():
    x = oracle.antipodal(20, 3)
    assert len(pairs_within(Vectors.prepare(x), [np.arange(20)], -1.001)) == 20 * 19 // 2


def test_a_cosine_equal_to_the_floor_is_not_above_it():
    x = np.array([[1, 0], [1, np.sqrt(3)], [3, 4], [4, 3]], np.float64)  # cosines 0.5, 0.6, 0.8, 0.96 and others
    vectors, rows = Vectors.prepare(x), [np.arange(4)]
    cosine = oracle.cosines(x)
    for value in (cosine[0, 1], cosine[0, 2], cosine[0, 3], cosine[2, 3]):
        equal = {pair for pair in oracle.pairs(cosine, rows, -1) if cosine[pair] == value}
        assert equal
        assert not equal & set(as_dict(pairs_within(vectors, rows, value)))
        assert equal <= set(as_dict(pairs_within(vectors, rows, value - oracle.STEP)))


@pytest.mark.parametrize("eta", [0.6, 0.85, 0.95])
def test_faiss_finds_the_same(eta):
    """A second oracle, on a pool large enough for the bfloat16 screen of `auto` and for several tiles."""
    x = oracle.clumps(6000, 32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(32)
    index.add(unit)
    starts, _, second = index.range_search(unit, eta)
    first = np.repeat(np.arange(6000), np.diff(starts).astype(np.int64))
    theirs = set(zip(first[first < second].tolist(), second[first < second].tolist(), strict=True))
    ours = as_dict(pairs_within(Vectors.prepare(x), [np.arange(6000)], eta))
    assert len(theirs) > 1000
    for pair in theirs ^ set(ours):  # faiss works in float32: it may differ where the cosine is eta to the last bits
        assert abs(oracle.cosines(x[[pair[0]]], x[[pair[1]]])[0, 0] - eta) < 1e-6
    assert len(theirs ^ set(ours)) < 20


def test_too_many_pairs_are_not_collected(tiles):
    x = oracle.clumps(200, 8)
    vectors, rows = Vectors.prepare(x), [np.arange(200)]
    count = len(oracle.pairs(oracle.cosines(x), rows, 0.5))
    assert len(pairs_within(vectors, rows, 0.5, most=count)) == count
    assert pairs_within(vectors, rows, 0.5, most=count - 1) is None


def test_pairs_survive_a_file(tmp_path):
    found = pairs_within(Vectors.prepare(oracle.clumps(100, 8)), [np.arange(100)], 0.1)
    found.save(tmp_path / "pairs.parquet")
    again = Pairs.load(tmp_path / "pairs.parquet")
    assert as_dict(again) == as_dict(found)
    assert (again.floor, again.first.dtype, again.cosine.dtype) == (0.1, np.int64, np.float32)
