"""The engine whose work processes share gives the oracle's answer, also from parts that others left in the folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch

from meddel_hf.dedup import block_engine, sampling, scratch, shared_engine
from meddel_hf.dedup.block_engine import BlockEngine
from meddel_hf.dedup.sampling import drawn
from meddel_hf.dedup.scratch import Pieces, Scratch
from meddel_hf.dedup.scratch_engine import ScratchEngine
from meddel_hf.dedup.shared_engine import SharedEngine, engine_of
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors import pairs as pairs_module
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.pairs import pairs_between, pairs_within
from meddel_hf.neighbors.row_source import ArrayRows
from meddel_hf.runtime import shared_work
from meddel_hf.runtime.shard import Shard
from meddel_hf.runtime.shared_work import SharedWork, sharing


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """So that 60 rows make many parts, of blocks of eight rows."""
    for module, name, value in (
        (shared_work, "_LEAST", 1), (shared_engine, "_LARGE", 30), (shared_engine, "BLOCK", 8),
        (shared_engine, "TILE", 16), (shared_engine, "_ROWS", 3), (shared_engine, "_STRETCHES", 5),
        (sampling, "TILE", 16), (pairs_module, "BLOCK", 8), (pairs_module, "TILE", 16), (pairs_module, "_LARGE", 40),
        (pairs_module, "SIDE_BY_SIDE", 20), (block_engine, "SIDE_BY_SIDE", 20), (block_engine, "_SMALL_BLOCK", 7),
        (block_engine, "_SMALL_STEP", 7),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def works(folder: Path) -> Iterator[SharedWork]:
    """One process after another: the second finds all done."""
    for index in (1, 2):
        work = SharedWork(folder, {}, Shard(index, 2), lambda: False)
        with sharing(work):
            yield work
        assert (work.done > 0) == (index == 1)


LARGE = [name for name, make in oracle.INPUTS.items() if len(make()) >= 40]  # enough for parts


def groupings(n: int) -> list[list[np.ndarray]]:
    """All rows in one group, which is cut; many small ones; one that is cut among small ones."""
    order = np.random.default_rng(n).permutation(n)
    small = [part for part in np.array_split(order, 9) if len(part)]
    left = order[: n - 3]
    mixed = [part for part in np.split(left, [2, 7, len(left) - 6]) if len(part)]
    return [[order], small, mixed]


@pytest.mark.parametrize("device", ["auto", torch.device("cpu")], ids=["processor", "as on a GPU"])
@pytest.mark.parametrize("name", LARGE)
def test_both_rules_and_who_stands_for_whom(name, device, tmp_path):
    x = oracle.INPUTS[name]()
    vectors, cosine = Vectors.prepare(x, device=device), oracle.cosines(x)
    for number, groups in enumerate(groupings(len(x))):
        for _ in works(tmp_path / str(number)):
            engine = engine_of(vectors, groups)
            assert isinstance(engine, SharedEngine)
            oracle.check_engine(engine, cosine, groups, (-0.5, 0.8, cosine[0, len(x) // 2], 1.0))


def test_alone_it_is_the_usual_engine():
    vectors = Vectors.prepare(oracle.clumps(40, 8))
    assert type(engine_of(vectors, [np.arange(40)])) is BlockEngine
    here, there = SharedEngine(vectors, [np.arange(40)]), BlockEngine(vectors, [np.arange(40)])
    for rule in ("greedy", "semdedup"):
        np.testing.assert_array_equal(getattr(here, rule)(0.7).kept, getattr(there, rule)(0.7).kept)
    kept = there.greedy(0.7).kept
    for mine, theirs in zip(here.nearest_kept(kept), there.nearest_kept(kept), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_pass_stops_where_that_of_the_other_engine_stops(tmp_path):
    x = oracle.clumps(200, 16)
    vectors = Vectors.prepare(x)
    for number, groups in enumerate(groupings(200)):
        blocks = BlockEngine(vectors, groups)
        for _ in works(tmp_path / str(number)):
            for limit in (0, 1, 5, 17, 60, 200):
                here, there = engine_of(vectors, groups).greedy(0.7, limit), blocks.greedy(0.7, limit)
                np.testing.assert_array_equal(here.kept, there.kept)
                assert (here.count, here.complete, here.share) == (there.count, there.complete, there.share)


@pytest.mark.parametrize("name", LARGE)
def test_pairs(name, tmp_path):
    x = oracle.INPUTS[name]()
    vectors, cosine = Vectors.prepare(x), oracle.cosines(x)
    for number, groups in enumerate(groupings(len(x))):
        plain = pairs_within(vectors, groups, 0.6)
        for _ in works(tmp_path / str(number)):
            shared = pairs_within(vectors, groups, 0.6)
            expected = oracle.pairs(cosine, groups, 0.6)
            found = zip(shared.first.tolist(), shared.second.tolist(), shared.cosine.tolist(), strict=True)
            assert {(a, b): c for a, b, c in found} == expected
            assert shared.first.tobytes() + shared.second.tobytes() == plain.first.tobytes() + plain.second.tobytes()
            count = len(expected)
            assert len(pairs_within(vectors, groups, 0.6, most=count)) == count
            if count:
                assert pairs_within(vectors, groups, 0.6, most=count - 1) is None
    halves = [(rows[::2], rows[1::2]) for rows in (np.arange(len(x)), *np.array_split(np.arange(len(x)), 3))]
    for number, groups in enumerate((halves[:1], [*halves[1:], (halves[0][0][:0], halves[0][1][:0])])):
        for _ in works(tmp_path / f"between-{number}"):
            between = pairs_between(vectors, groups, 0.6)
            found = zip(between.first.tolist(), between.second.tolist(), between.cosine.tolist(), strict=True)
            assert list(found) == sorted(
                (a, b, cosine[a, b])
                for left, right in groups
                for a in left
                for b in right
                if cosine[a, b] > oracle.grid(0.6)
            )


def test_the_sample_of_cosines(tmp_path):
    x = oracle.clumps(300, 16)
    vectors = Vectors.prepare(x)
    for number, groups in enumerate(groupings(300)):
        alone = drawn(vectors, groups)
        for _ in works(tmp_path / str(number)):
            together = drawn(vectors, groups)
            assert together.stay.tobytes() + together.pairs.tobytes() == alone.stay.tobytes() + alone.pairs.tobytes()


@pytest.mark.parametrize("rows", [11, 40, 1000])
@pytest.mark.parametrize("name", ["clumps", "integers", "copies"])
def test_the_engine_of_rows_that_are_regrouped_together(name, rows, tmp_path, monkeypatch):
    x = oracle.INPUTS[name]()
    monkeypatch.setattr("meddel_hf.neighbors.row_source.BLOCK", 16)
    cosine, source = oracle.cosines(x), ArrayRows(x)
    for number, groups in enumerate(groupings(len(x))):
        pieces = Pieces.of(list(map(len, groups)), rows)
        for work in works(tmp_path / f"{number}"):
            together = Scratch.shared(work, source, np.concatenate(groups), pieces, 16)
            np.testing.assert_array_equal(together.read(0, len(together)), x[np.concatenate(groups)])
            engine = ScratchEngine(together, len(x), groups, pieces)
            for rule in ("greedy", "semdedup"):
                done = getattr(engine, rule)(0.8)
                kept = getattr(oracle, rule)(cosine, groups, 0.8)
                np.testing.assert_array_equal(done.kept, kept)
            where, value = oracle.nearest_kept(cosine, groups, kept)
            near, similarity = engine.nearest_kept(kept)
            np.testing.assert_array_equal(near, where)
            np.testing.assert_array_equal(similarity, value.astype(np.float32))
            here, there = engine.greedy(0.5, 7), BlockEngine(Vectors.prepare(x), groups).greedy(0.5, 7)
            np.testing.assert_array_equal(here.kept, there.kept)
            assert (here.count, here.complete, here.share) == (there.count, there.complete, there.share)


def test_a_disk_without_room_is_refused_before_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 100}))
    x, work = oracle.noise(60, 12), SharedWork(tmp_path / "parts", {}, Shard(), lambda: False)
    with pytest.raises(InvalidArgument, match=r"scratch file of 1 MB, and .* has 1 MB free"):
        Scratch.shared(work, ArrayRows(x), np.arange(60), Pieces.of([60], 20), 16)
    assert list(tmp_path.iterdir()) == []
