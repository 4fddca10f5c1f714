"""The engine of a scratch file gives the oracle's answer, and stops where the others stop, however little it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import oracle
import pytest
from groups import groupings

from meddel_hf.dedup.block_engine import BlockEngine
from meddel_hf.dedup.scratch import Pieces, Scratch
from meddel_hf.dedup.scratch_engine import ScratchEngine
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.row_source import ArrayRows


@contextmanager
def engine_of(x: np.ndarray, groups: list[np.ndarray], rows: int, folder: Path) -> Iterator[ScratchEngine]:
    pieces = Pieces.of(list(map(len, groups)), rows)
    with Scratch.of(ArrayRows(x), np.concatenate(groups), pieces, 1024, folder) as scratch:
        yield ScratchEngine(scratch, len(x), groups, pieces)


@pytest.mark.parametrize("rows", [11, 40, 1000])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_both_rules_and_who_stands_for_whom(name, rows, tmp_path):
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    for groups in groupings(len(x)):
        with engine_of(x, groups, rows, tmp_path) as engine:
            oracle.check_engine(engine, cosine, groups, (-0.5, 0.8, cosine[0, len(x) // 2], 1 - 2**-24, 1.0))


@pytest.mark.parametrize("rows", [13, 64, 1000])
def test_a_pass_stops_where_that_of_the_other_engine_stops(rows, tmp_path):
    x = oracle.clumps(200, 16)
    for groups in groupings(200):
        blocks = BlockEngine(Vectors.prepare(x), groups)
        with engine_of(x, groups, rows, tmp_path) as engine:
            for limit in (0, 1, 5, 17, 60, 200):
                here, there = engine.greedy(0.7, limit), blocks.greedy(0.7, limit)
                np.testing.assert_array_equal(here.kept, there.kept)
                assert (here.count, here.complete, here.share) == (there.count, there.complete, there.share)
