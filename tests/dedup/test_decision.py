"""A retention is met exactly: the found eta, the rows that fill up, and who stands for whom."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from groups import groupings

from meddel_hf.dedup.block_engine import BlockEngine
from meddel_hf.dedup.decision import at_count, at_eta, largest_eta, rows_for
from meddel_hf.dedup.density import CosineSample
from meddel_hf.dedup.pair_engine import PairEngine
from meddel_hf.dedup.sampling import drawn
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.pairs import pairs_within

RULES = {"greedy": oracle.greedy, "semdedup": oracle.semdedup}


def prepared(x: np.ndarray, groups, floor: float = 0.3):
    vectors = Vectors.prepare(x)
    blocks = BlockEngine(vectors, groups)
    pairs = PairEngine(pairs_within(vectors, groups, floor), len(x), groups, blocks)
    return {"blocks": blocks, "pairs": pairs}, drawn(vectors, groups)


def check(decision, cosine, groups, kept) -> None:
    np.testing.assert_array_equal(decision.kept, kept)
    where, value = oracle.nearest_kept(cosine, groups, kept)
    np.testing.assert_array_equal(decision.duplicate_of, where)
    np.testing.assert_array_equal(decision.similarity, value)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_at_an_eta(name, rule):
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    for groups in groupings(len(x)):
        engines, _ = prepared(x, groups)
        for eta in (0.2, 0.8):
            for engine in engines.values():
                check(at_eta(engine, rule, eta), cosine, groups, RULES[rule](cosine, groups, eta))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_exactly_so_many_rows(name, rule):
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    for groups in groupings(len(x)):
        total = sum(map(len, groups))
        engines, sample = prepared(x, groups)
        for target in sorted({len(groups), *(max(len(groups), round(total * r)) for r in (0.05, 0.3, 0.6, 0.99, 1))}):
            decisions = {name: at_count(engine, rule, target, sample) for name, engine in engines.items()}
            assert decisions["blocks"].eta == decisions["pairs"].eta
            eta = decisions["pairs"].eta
            base = RULES[rule](cosine, groups, eta)
            assert base.sum() <= target
            expected = oracle.filled(cosine, groups, base, target)
            assert expected.sum() == target
            for decision in decisions.values():
                check(decision, cosine, groups, expected)
                if rule == "greedy":  # every dropped row has a kept neighbour above the found eta
                    gone = np.concatenate(groups)[~expected[np.concatenate(groups)]]
                    assert (decision.similarity[gone] > oracle.grid(eta)).all()
            # The largest eta that keeps no more: within 1 % of the target, or the next eta of use keeps more.
            if rule == "greedy" and target - base.sum() > target // 100:
                assert any(
                    oracle.greedy(cosine, groups, eta + step * oracle.STEP).sum() > target for step in range(1, 20)
                ), (target, base.sum(), eta)


def test_fewer_rows_than_groups_cannot_be():
    x = oracle.noise(30, 4)
    groups = [np.arange(start, start + 10) for start in (0, 10, 20)]
    engines, sample = prepared(x, groups)
    assert at_count(engines["blocks"], "greedy", 3, sample).kept.sum() == 3
    for engine in engines.values():
        with pytest.raises(InvalidArgument, match=r"2 rows are fewer than the 3 clusters.*n_clusters.*scope"):
            at_count(engine, "greedy", 2, sample)


def test_a_search_takes_few_passes():
    """The sample tells where to begin: a handful of passes for an ordinary pool of several hundred rows."""
    x = oracle.clumps(600, 16)
    groups = [np.arange(600)]

    class Counting(BlockEngine):
        passes = 0

        def greedy(self, eta, limit=None):
            self.passes += 1
            return super().greedy(eta, limit)

    for target in (60, 200, 400):
        engine = Counting(Vectors.prepare(x), groups)
        largest_eta(engine, "greedy", target, drawn(engine.vectors, groups))
        assert engine.passes <= 12


def test_rows_for_a_retention():
    assert rows_for(0.05, 1000, 1000) == 50
    assert rows_for(1.0, 7, 7) == 7
    assert rows_for(0.5, 3, 3) == round(1.5)
    for bad in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(InvalidArgument, match=r"fraction in \(0, 1\], got"):
            rows_for(bad, 10, 10)
    with pytest.raises(InvalidArgument, match=r"0\.01 of 10 rows is no row at all: ask for at least 0\.1"):
        rows_for(0.01, 10, 10)
    with pytest.raises(InvalidArgument, match=r"asks for 9 of 10 rows, but only 8 .*retention 0\.8000.*epsilon=None"):
        rows_for(0.9, 10, 8)


@pytest.mark.parametrize("name", ["noise", "clumps", "integers", "concentrated", "all equal"])
def test_the_sample_counts_what_it_sees(name):
    """Up to 256 rows all of them are sampled: then its two curves are exact."""
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    for groups in groupings(len(x)):
        sample = drawn(Vectors.prepare(x), groups)
        together = np.zeros_like(cosine, bool)
        for group in groups:
            together[np.ix_(group, group)] = True
        np.fill_diagonal(together, False)
        rows = np.concatenate(groups)
        for eta in (-1, 0, 0.5, 0.75, 0.875):  # edges of its bins
            near = (together & (cosine >= eta))[rows].sum(axis=1)
            assert sample.pairs_above(eta) == pytest.approx(near.sum() / 2)
            assert sample.kept(eta) == pytest.approx((1 / (1 + near)).sum())
            assert sample.share_above(eta) == pytest.approx(near.sum() / max(1, together.sum()), abs=1e-12)


def test_the_sample_survives_a_file(tmp_path):
    sample = drawn(Vectors.prepare(oracle.clumps(100, 8)), [np.arange(100)])
    sample.save(tmp_path / "density.parquet")
    again = CosineSample.load(tmp_path / "density.parquet")
    np.testing.assert_array_equal(again.stay, sample.stay)
    np.testing.assert_array_equal(again.pairs, sample.pairs)
