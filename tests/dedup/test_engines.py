"""Both engines give the oracle's answer, whatever the block size, the screen and the number of threads."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch
from drawn_rows import rows_in_order
from groups import groupings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import meddel_hf.dedup.block_engine as rules
import meddel_hf.neighbors.cosines as neighbors
import meddel_hf.neighbors.pairs as pairs_module
from meddel_hf.dedup.block_engine import BlockEngine
from meddel_hf.dedup.pair_engine import PairEngine
from meddel_hf.dedup.passes import apply
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.pairs import pairs_within

SCREENS = ["float32", "bfloat16"]
# Rows and columns of a product; rows of a group that is copied, and of those that are then looked at together.
TILES = [(1024, 4096, 4096, 256), (16, 48, 0, 0), (16, 48, 4096, 7)]


def set_tiles(patch, block: int, tile: int, side_by_side: int = 0, small_block: int = 0) -> None:
    for module in (neighbors, pairs_module, rules):
        patch.setattr(module, "BLOCK", block)
        patch.setattr(module, "TILE", tile)
    for module in (pairs_module, rules):
        patch.setattr(module, "SIDE_BY_SIDE", side_by_side)
        patch.setattr(module, "_SMALL_BLOCK", small_block)
    patch.setattr(rules, "_SMALL_STEP", small_block)
    patch.setattr(rules, "_FLOAT32_UP_TO", 20)  # rows; a group of more is screened in bfloat16
    patch.setattr(neighbors, "_LOW_PRODUCT", 0)  # so that small products are screened in bfloat16 too


@pytest.fixture(params=TILES, ids=str)
def tiles(request, monkeypatch):
    set_tiles(monkeypatch, *request.param)


def engines(x: np.ndarray, groups, floor: float, screen="auto"):
    vectors = Vectors.prepare(x, screen=screen)
    blocks = BlockEngine(vectors, groups)
    return {"blocks": blocks, "pairs": PairEngine(pairs_within(vectors, groups, floor), len(x), groups, blocks)}


def questions(name: str, screen: str):
    """Cosines, each grouping, and both engines of it."""
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    for groups in groupings(len(x)):
        yield cosine, groups, engines(x, groups, 0.55, screen).values()


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_both_rules_at_many_etas(name, screen, tiles):
    for cosine, groups, both in questions(name, screen):
        for eta in (*oracle.ETAS, cosine[0, len(cosine) // 2]):  # the last is met exactly by one pair at least
            expected = {"greedy": oracle.greedy(cosine, groups, eta), "semdedup": oracle.semdedup(cosine, groups, eta)}
            for engine in both:
                for rule, kept in expected.items():
                    done = apply(engine, rule, float(eta))
                    np.testing.assert_array_equal(done.kept, kept, err_msg=f"{rule} at {eta}")
                    assert (done.count, done.complete, done.share) == (kept.sum(), True, 1)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_the_nearest_kept_row(name, screen, tiles):
    for cosine, groups, both in questions(name, screen):
        for kept in (oracle.greedy(cosine, groups, 0.8), oracle.semdedup(cosine, groups, 0.5)):
            where, value = oracle.nearest_kept(cosine, groups, kept)
            for engine in both:
                got, similarity = engine.nearest_kept(kept)
                np.testing.assert_array_equal(got, where)
                np.testing.assert_array_equal(similarity, value)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_one_pass_and_who_shares_a_near_duplicate(name, screen, tiles):
    for cosine, groups, both in questions(name, screen):
        for engine in both:
            oracle.check_engine(engine, cosine, groups, (*oracle.ETAS, float(cosine[0, len(cosine) // 2])))


@pytest.mark.parametrize("name", oracle.INPUTS)
def test_some_rows_are_asked_for_their_nearest_of_some_kept(name, tiles):
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    number = np.arange(len(x))
    for groups in groupings(len(x)):
        kept, asked = number % 3 == 0, number % 3 == 1
        only = [rows[(kept | asked)[rows]] for rows in groups]
        where, value = oracle.nearest_kept(cosine, [rows for rows in only if len(rows)], kept)
        for engine in engines(x, groups, 0.55).values():
            got, similarity = engine.nearest_kept(kept, asked)
            np.testing.assert_array_equal(got, np.where(asked, where, -1))
            np.testing.assert_array_equal(similarity, np.where(asked, value, np.float32(-2)))


@pytest.mark.parametrize("threads", [1, 2])
def test_long_stretches_in_which_nobody_is_kept(threads, monkeypatch):
    set_tiles(monkeypatch, 16, 48)
    x = np.repeat(oracle.noise(12, 8), 40, axis=0) + 1e-3 * oracle.noise(480, 8)
    cosine, groups = oracle.cosines(x), [np.arange(480)]
    stays = oracle.greedy(cosine, groups, 0.99)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        kept, near, similarity = BlockEngine(Vectors.prepare(x), groups).thinned(0.99)
    finally:
        torch.set_num_threads(before)
    assert stays.sum() == 12
    np.testing.assert_array_equal(kept, stays)
    np.testing.assert_array_equal([near, similarity], oracle.nearest_kept(cosine, groups, stays))


@pytest.mark.parametrize("name", oracle.INPUTS)
def test_a_pass_ends_at_the_first_row_beyond_its_limit(name, tiles):
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    for groups in groupings(len(x)):
        order = np.concatenate(groups)
        whole = oracle.greedy(cosine, groups, 0.8)
        for limit in sorted({1, int(whole.sum()) // 2, int(whole.sum()) - 1, int(whole.sum())} - {0}):
            for name, engine in engines(x, groups, 0.8).items():
                done = engine.greedy(0.8, limit)
                if limit >= whole.sum():
                    assert done.complete, name
                    np.testing.assert_array_equal(done.kept, whole)
                    continue
                last = np.flatnonzero(whole[order])[limit]  # position of row number limit + 1 that stays
                assert (done.complete, done.count, done.share) == (False, limit + 1, (last + 1) / len(order)), name
                expected = whole.copy()
                expected[order[last + 1 :]] = False
                np.testing.assert_array_equal(done.kept, expected, err_msg=name)


@pytest.mark.parametrize("threads", [1, 2])
def test_answers_do_not_depend_on_threads(threads):
    x = oracle.clumps(3000, 48, seed=3)  # enough rows for the bfloat16 screen of "auto"
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = pairs_within(Vectors.prepare(x), [np.arange(3000)], 0.7)
        done = BlockEngine(Vectors.prepare(x), [np.arange(3000)]).greedy(0.7)
    finally:
        torch.set_num_threads(before)
    cosine = oracle.cosines(x)
    first, second = np.nonzero(np.triu(cosine > oracle.grid(0.7), 1))
    np.testing.assert_array_equal([found.first, found.second], [first, second])
    np.testing.assert_array_equal(found.cosine, cosine[first, second])
    np.testing.assert_array_equal(done.kept, oracle.greedy(cosine, [np.arange(3000)], 0.7))


def test_a_graph_alone_refuses_what_lies_below_its_floor():
    x = oracle.clumps(40, 8)
    engine = PairEngine(pairs_within(Vectors.prepare(x), [np.arange(40)], 0.7), 40, [np.arange(40)])
    for ask in (engine.greedy, engine.semdedup):
        assert ask(0.7).complete
        with pytest.raises(InvalidArgument, match=r"eta 0\.6000 is below 0\.7000.*select again from the embeddings"):
            ask(0.6)


@st.composite
def pools(draw):
    """A pool of small whole numbers (hence ties and copies) or of floats, its groups, and a threshold it may meet."""
    x, order = draw(rows_in_order(1))
    n = len(x)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, n - 1)), max_size=3)))
    groups = [part for part in np.split(order, cuts) if len(part)]
    pair = (draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1)))
    return x, groups, pair, draw(st.integers(-1, 1)), draw(st.floats(-1, 1))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pools(), st.sampled_from(TILES), st.sampled_from(SCREENS))
def test_engines_agree_with_the_oracle_on_anything(monkeypatch, pool, tile, screen):
    x, groups, pair, steps, floor = pool
    set_tiles(monkeypatch, *tile)
    cosine = oracle.cosines(x)
    eta = float(np.clip(cosine[pair] + steps * oracle.STEP, -1, 1))  # on a cosine of the pool, or a step beside it
    kept, earlier = oracle.greedy(cosine, groups, eta), oracle.semdedup(cosine, groups, eta)
    where, value = oracle.nearest_kept(cosine, groups, kept)
    for engine in engines(x, groups, floor, screen).values():
        np.testing.assert_array_equal(engine.greedy(eta).kept, kept)
        np.testing.assert_array_equal(engine.semdedup(eta).kept, earlier)
        got, similarity = engine.nearest_kept(kept)
        np.testing.assert_array_equal(got, where)
        np.testing.assert_array_equal(similarity, value)
