"""Scenes, and links that come a few rows at a time: by plain loops, and by every engine in portions of all sizes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import oracle
import pytest

import meddel_hf.dedup.scenes as module
from meddel_hf.dedup.block_engine import BlockEngine
from meddel_hf.dedup.scenes import Asked, Joining, in_portions
from meddel_hf.dedup.scratch import Pieces, Scratch
from meddel_hf.dedup.scratch_engine import ScratchEngine
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.row_source import ArrayRows


def groups(seed: int) -> list[Asked]:
    """Five groups of up to 30 rows, some without rows that go or that stay."""
    rng = np.random.default_rng(seed)
    asked, start = [], 0
    for goes, stays in rng.integers(0, 16, (5, 2)).tolist():
        rows = start + rng.permutation(goes + stays)
        asked.append(Asked(np.sort(rows[:goes]), rows[goes:]))
        start += goes + stays
    return asked


@pytest.mark.parametrize("pairs", [1, 7, 60, 10**6])
@pytest.mark.parametrize("density", [0, 0.1, 1])
@pytest.mark.parametrize("seed", range(5))
def test_each_row_that_stays_is_asked_about_once_and_in_order(pairs, density, seed, monkeypatch):
    monkeypatch.setattr(module, "_PAIRS", pairs)
    rng, near, asked, most = np.random.default_rng(seed), set(), groups(seed), []

    def find(portion):
        most.append(sum(one.pairs for one in portion))
        all_of_it = [(stay, go) for one in portion for stay in one.stays.tolist() for go in one.goes.tolist()]
        links = [pair for pair in all_of_it if rng.random() < density]
        near.update(links)
        stays, goes = np.array(links, np.int64).reshape(-1, 2).T
        return stays, goes

    parts = [stays.tolist() for stays, _ in in_portions(asked, find)]
    places = {row: place for place, row in enumerate(row for one in asked for row in one.stays.tolist())}
    spans = [(min(map(places.get, part)), max(map(places.get, part))) for part in parts if part]
    assert all(before[1] < after[0] for before, after in pairwise(spans)), "what is later is about later rows"
    if density == 1:
        assert near == {(stay, go) for one in asked for stay in one.stays.tolist() for go in one.goes.tolist()}
        assert max(most) < pairs + 16, "one row that stays, with 15 that go, above the bound at most"


def test_few_links_widen_the_portions_and_many_do_not(monkeypatch):
    monkeypatch.setattr(module, "_PAIRS", 100)
    one, nothing = Asked(np.arange(10), np.arange(10, 5000)), np.zeros(0, np.int64)
    sizes = []

    def none(portion):
        sizes.append(sum(some.pairs for some in portion))
        return nothing, nothing

    list(in_portions([one], none))
    assert sizes[:4] == [100, 800, 6400, 42600]

    def all_of_them(portion):
        sizes.append(sum(some.pairs for some in portion))
        return np.repeat(portion[0].stays, 10), np.tile(portion[0].goes, len(portion[0].stays))

    sizes.clear()
    list(in_portions([one], all_of_them))
    assert set(sizes) == {100}


def test_what_shares_a_near_duplicate_is_of_one_scene():
    """Rows 0, 1, 2, 3 stay, in this order; 4 is near to 0 and 1, 5 to 1 and 2, 6 to 3 alone."""
    kept = np.arange(8) < 4
    joining = Joining(kept, np.arange(8))
    joining.add(np.array([1, 0]), np.array([4, 4]))
    joining.add(np.array([2, 3]), np.array([5, 6]))
    assert joining.scenes.apart.tolist() == [True, False, True, True, False, False, False, False]
    assert oracle.together(joining.scenes.scene) == [[0, 1, 4], [2, 5], [3, 6], [7]]


@pytest.mark.parametrize("pairs", [1, 40, 500])
@pytest.mark.parametrize("name", ["clumps", "concentrated"])
def test_portions_change_no_answer(name, pairs, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_PAIRS", pairs)
    x = oracle.INPUTS[name]()
    cosine, order = oracle.cosines(x), np.random.default_rng(0).permutation(len(x))
    for groups in ([order], np.array_split(order[3:], 4)):
        pieces = Pieces.of(list(map(len, groups)), 20)
        with Scratch.of(ArrayRows(x), np.concatenate(groups), pieces, 1024, tmp_path) as scratch:
            for engine in (BlockEngine(Vectors.prepare(x), groups), ScratchEngine(scratch, len(x), groups, pieces)):
                oracle.check_engine(engine, cosine, groups, (0.5, 0.8, 0.95))
