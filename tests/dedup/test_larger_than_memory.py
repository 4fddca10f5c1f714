"""Whatever the memory, the answer is that of a search in memory, to the bit."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

import meddel_hf.dedup.larger_than_memory as larger
from meddel_hf.dedup.larger_than_memory import Plan, Room, grouped, nearest_kept_of_all
from meddel_hf.dedup.search import Search, Settings
from meddel_hf.errors import InvalidArgument, InvalidEmbeddings
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.row_source import ArrayRows
from meddel_hf.neighbors.unit_rows import subtract_mean

GB = 10**9


@pytest.fixture(params=[9, 100, 10_000])
def rows_at_once(request, monkeypatch):
    monkeypatch.setattr(Plan, "within", lambda *_: Plan(request.param))


def check(x: np.ndarray, settings: Settings, folder) -> None:
    vectors = Vectors.prepare(subtract_mean(Vectors.prepare(x).base) if settings.subtract_mean else x)
    search = Search.among(settings, vectors, np.arange(len(x)), len(x))
    expected = search.decide(settings.eta, settings.retention)
    with grouped(settings, ArrayRows(x), len(x), Room(GB, folder), str) as grouping:
        decision = grouping.decide(settings.eta, settings.retention)
        for name in ("outlier", "cluster", "distance"):
            np.testing.assert_array_equal(getattr(grouping, name), getattr(search, name))
        for name in ("stay", "pairs"):
            np.testing.assert_array_equal(getattr(grouping.sample, name), getattr(search.sample, name))
        for name in ("kept", "duplicate_of", "similarity"):
            np.testing.assert_array_equal(getattr(decision, name), getattr(expected, name))
        assert decision.eta == expected.eta
        goes, stays = np.flatnonzero(~decision.kept), np.flatnonzero(decision.kept)
        for mine, theirs in zip(grouping.nearest(goes, stays), search.nearest(goes, stays), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", ["clumps", "integers", "copies", "all equal", "near equal", "antipodal", "two rows"])
def test_an_answer_in_pieces_is_that_of_a_search_in_memory(name, rows_at_once, tmp_path):
    x = oracle.INPUTS[name]()
    for settings in (
        Settings(eta=0.8, epsilon=1.9),
        Settings(eta=0.8, epsilon=None, scope="pool", rule="semdedup"),
        Settings(retention=0.5, epsilon=None, n_clusters=1, keep="random"),
        Settings(retention=0.5, epsilon=None, scope="pool", keep="farthest"),
    ):
        check(x, settings, tmp_path)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("mean", [False, True])
def test_enough_rows_for_every_screen(kind, mean, monkeypatch, tmp_path):
    monkeypatch.setattr(Plan, "within", lambda *_: Plan(700))
    x = oracle.clumps(4100, 32).astype(kind)
    x[1000:2500] = x[1000] + oracle.noise(1500, 32).astype(kind) * kind(0.05)  # one cluster of more than a piece
    check(x, Settings(retention=0.1, epsilon=None, subtract_mean=mean), tmp_path)
    check(x, Settings(eta=0.9, epsilon=0.9, subtract_mean=mean, n_clusters=5), tmp_path)


@pytest.mark.parametrize("mean", [False, True])
def test_the_nearest_kept_row_of_the_whole_pool(mean, rows_at_once):
    x = oracle.integers(90, seed=3)
    kept = np.random.default_rng(0).random(90) < 0.3
    cosine = oracle.cosines(subtract_mean(x) if mean else x)
    where, value = oracle.nearest_kept(cosine, [np.arange(90)], kept)
    near, best = nearest_kept_of_all(ArrayRows(x), mean, np.flatnonzero(~kept), np.flatnonzero(kept), GB, str)
    np.testing.assert_array_equal(near, where[~kept])
    np.testing.assert_array_equal(best, value[~kept].astype(np.float32))


def test_what_a_search_in_memory_refuses_is_refused(tmp_path):
    def refuse(x, error, match, **settings):
        with (
            pytest.raises(error, match=match),
            grouped(Settings(**settings), ArrayRows(x), len(x), Room(GB, tmp_path), "frame {}".format),
        ):
            pass

    x = oracle.noise(40, 8)
    refuse(x, InvalidArgument, "epsilon=0 makes outliers of all 40 rows", eta=0.5, epsilon=0)
    x[3] = 0
    refuse(x, InvalidEmbeddings, r"zero vectors, .*: rows 3 \(frame 3\)", eta=0.5)


def test_too_little_memory_is_refused_with_what_is_needed():
    def rows(n: int) -> ArrayRows:
        return ArrayRows(np.broadcast_to(np.float16(1), (n, 768)))

    sentence = r"^1,000,000 embeddings of 768 numbers need 1\.\d GB .* got 500 MB: give"
    with pytest.raises(InvalidArgument, match=sentence):
        Plan.within(Room(GB // 2), rows(10**6), 1000)
    with pytest.raises(InvalidArgument, match=r"or ask MedDEL for fewer clusters than 100,000 \(n_clusters\)"):
        Plan.within(Room(2 * GB), rows(10**7), 100_000)
    with pytest.raises(InvalidArgument, match=r"need 2\.1 GB of memory, got 1\.5 GB"):
        Plan.within(Room(3 * GB // 2, held=GB), rows(10**6), 1)
    for n, clusters, memory in ((10**7, 3162, 4 * GB), (10**6, 1000, 3 * GB // 2)):
        plan = Plan.within(Room(memory), rows(n), clusters)
        assert larger._LEAST_PIECE < plan.rows <= memory / (768 * 6)
    assert Room(2 * GB).fits(rows(100_000))
    assert not Room(2 * GB, held=3 * GB // 4).fits(rows(100_000))
    assert not Room(4 * GB).fits(rows(10**6))
