"""What is read in blocks is what `Vectors` has of all rows at once."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from meddel_hf.errors import InvalidEmbeddings
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.row_source import ArrayRows
from meddel_hf.neighbors.unit_rows import MeanSubtracted, Survey, mean_direction_sum, subtract_mean


def surveyed(x: np.ndarray, rows_at_once: int = 1024) -> Survey:
    return Survey.of(ArrayRows(x), rows_at_once, "frame {}".format)


def test_a_sum_over_blocks_is_the_sum_of_all_rows_to_the_bit():
    x = oracle.clumps(5000, 24)
    expected = mean_direction_sum(x, Vectors.prepare(x).norms)
    for rows_at_once in (1, 2048, 10_000):
        np.testing.assert_array_equal(surveyed(x, rows_at_once).direction_sum, expected)
    np.testing.assert_allclose(expected, (x / np.linalg.norm(x.astype(float), axis=1, keepdims=True)).sum(axis=0))


def test_rows_without_the_mean_are_those_of_the_whole_to_the_bit():
    x = oracle.clumps(3000, 12)
    source = MeanSubtracted(ArrayRows(x), surveyed(x).mean)
    expected = subtract_mean(x)
    np.testing.assert_array_equal(source.read(100, 2900), expected[100:2900])
    np.testing.assert_array_equal(source.take(np.array([0, 7, 2999])), expected[[0, 7, 2999]])


@pytest.mark.parametrize("off", [0, 2.0**-18])
def test_unit_rows_are_taken_as_they_are_if_all_are(off):
    x = oracle.noise(40, 8)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    x[17] *= 1 + off
    few = np.arange(5)
    expected = Vectors.prepare(x).unit.numpy()[few]
    survey = surveyed(x)
    assert survey.all_unit == (off == 0)
    np.testing.assert_array_equal(survey.unit(x[few]), expected)


def test_rows_without_a_direction_are_named():
    x = oracle.noise(3000, 4)
    x[[5, 2000, *range(2100, 2105)]] = 0
    with pytest.raises(
        InvalidEmbeddings, match=r"^7 of 3000 embeddings are zero .* rows 5 \(frame 5\), 2000 .* 2 more"
    ):
        surveyed(x)
    x[2500, 1] = np.nan
    with pytest.raises(InvalidEmbeddings, match=r"1 of 3000 embeddings are not finite .* rows 2500 \(frame 2500\)"):
        surveyed(x)


def test_rows_that_are_the_mean_are_named():
    x = np.repeat(oracle.noise(1, 6), 20, axis=0)
    with pytest.raises(InvalidEmbeddings, match="20 of 20 embeddings are equal to the pool's mean"):
        Survey.of(MeanSubtracted(ArrayRows(x), surveyed(x).mean), 1024, str)
