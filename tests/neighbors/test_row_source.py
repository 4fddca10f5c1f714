"""Rows that are read in parts are the rows."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from meddel_hf.neighbors.row_source import ArrayRows, PickedRows, blocks


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_an_array_is_read_and_taken_from(kind):
    x = oracle.noise(30, 5).astype(kind)
    source = ArrayRows(x)
    wide = np.float32 if kind == np.float16 else kind
    assert (source.shape, source.dtype, source.stored) == ((30, 5), wide, kind)
    np.testing.assert_array_equal(source.read(4, 20), x[4:20].astype(wide))
    np.testing.assert_array_equal(source.take(np.array([1, 2, 29])), x[[1, 2, 29]].astype(wide))
    assert source.read(0, 30).flags.writeable
    assert not np.shares_memory(source.read(0, 30), x)


def test_some_rows_of_a_source():
    x = oracle.noise(30, 5).astype(np.float16)
    places = np.array([2, 3, 11, 28])
    source = PickedRows(ArrayRows(x), places)
    assert (source.shape, source.dtype, source.stored) == ((4, 5), np.float32, np.float16)
    np.testing.assert_array_equal(source.read(1, 4), x[[3, 11, 28]])
    np.testing.assert_array_equal(source.take(np.array([0, 3])), x[[2, 28]])


def test_blocks_begin_at_the_blocks_that_sums_run_over():
    starts = [start for start, _ in blocks(ArrayRows(np.ones((5000, 2), np.float32)), 2500)]
    assert starts == [0, 2048, 4096]
    assert [len(rows) for _, rows in blocks(ArrayRows(np.ones((3, 2), np.float32)), 1)] == [3]
