"""Exact cosines: what screens rule in or out never differs from float64, and bad input is named."""

from __future__ import annotations

import re

import numpy as np
import oracle
import pytest
import torch

import meddel_hf.neighbors.cosines as neighbors
from meddel_hf.errors import InvalidEmbeddings
from meddel_hf.neighbors.cosines import Vectors, candidates, few_candidates, nearest, product, rounded
from meddel_hf.neighbors.unit_rows import subtract_mean

SCREENS = ["float32", "bfloat16"]
TIERS = ["bfloat16", "float32", "float64"]


def everything(n: int) -> np.ndarray:
    return np.arange(n)


@pytest.fixture(params=[(1024, 4096), (9, 70)], ids=str)
def tiles(request, monkeypatch):
    """Block and tile sizes; odd ones leave remainders everywhere."""
    monkeypatch.setattr(neighbors, "BLOCK", request.param[0])
    monkeypatch.setattr(neighbors, "TILE", request.param[1])
    monkeypatch.setattr(neighbors, "_LOW_PRODUCT", 0)  # so that small products are screened in bfloat16 too


@pytest.mark.parametrize("name", oracle.INPUTS)
def test_cosines_are_the_oracles(name):
    x = oracle.INPUTS[name]()
    n, vectors, expected = len(x), Vectors.prepare(x), oracle.cosines(x)
    rows, cols = (part.ravel() for part in np.indices((n, n)))
    one_by_one = vectors.exact(rows, vectors, cols).reshape(n, n)
    np.testing.assert_array_equal(one_by_one, expected)
    np.testing.assert_array_equal(one_by_one, one_by_one.T)
    np.testing.assert_array_equal(vectors.exact_tile(everything(n), vectors, everything(n)), expected)
    assert one_by_one.dtype == np.float32
    assert (np.diag(one_by_one) == 1).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.longdouble])
def test_any_real_dtype_is_taken_at_its_own_precision(dtype):
    x = (oracle.clumps(60, 9) * 10).astype(dtype)
    if dtype == np.float64:
        x += 1e-9  # invisible in float32
    got = Vectors.prepare(x).exact_tile(everything(60), Vectors.prepare(x), everything(60))
    np.testing.assert_array_equal(got, oracle.cosines(x))


def test_rows_of_any_length_are_taken():
    x = oracle.clumps(50, 6).astype(np.float64)
    for scale in (1e-30, 1e30):
        got = Vectors.prepare((x * scale).astype(np.float32))
        expected = oracle.cosines((x * scale).astype(np.float32))
        np.testing.assert_array_equal(got.exact_tile(everything(50), got, everything(50)), expected)
    np.testing.assert_array_equal(Vectors.prepare(x * 1e100).exact(np.array([0]), Vectors.prepare(x), np.array([1])),
                                  oracle.cosines(x)[0, 1:2])  # fmt: skip


def test_layout_and_writeability_of_the_input_do_not_matter():
    x = oracle.clumps(64, 10)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    frozen = x.copy()
    frozen.flags.writeable = False
    wide = np.zeros((64, 20), np.float32)
    wide[:, ::2] = x
    variants = [np.asfortranarray(x), frozen, wide[:, ::2], x[::-1][::-1], x.astype(">f4"), np.ma.asarray(x)]
    expected = oracle.cosines(x)
    for variant in variants:
        before = np.array(variant)
        vectors = Vectors.prepare(variant)
        where, value = nearest(vectors, everything(64), vectors, np.array([3, 9]))
        np.testing.assert_array_equal(value, expected[:, [3, 9]].max(axis=1))
        np.testing.assert_array_equal(where, expected[:, [3, 9]].argmax(axis=1))
        np.testing.assert_array_equal(np.array(variant), before)


@pytest.mark.parametrize("shape", [(5,), (0, 4), (4, 0), (), (2, 3, 4)])
def test_misshapen_input_is_refused_with_its_shape(shape):
    with pytest.raises(InvalidEmbeddings, match=re.escape(f"non-empty (n, d) array, got shape {shape}")):
        Vectors.prepare(np.ones(shape, np.float32))


@pytest.mark.parametrize("values", [np.ones((2, 2), complex), np.array([["a", "b"]]), np.ones((2, 2), object)])
def test_what_is_no_real_number_is_refused(values):
    with pytest.raises(InvalidEmbeddings, match="must be real numbers, got dtype"):
        Vectors.prepare(values)


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "not finite"), (np.inf, "not finite"), (-np.inf, "not finite"), (0, "zero vectors")]
)
def test_bad_rows_are_named_with_their_ids(value, what):
    x = oracle.noise(12, 3)
    bad = [1, 4, 5, 6, 8, 9, 11]
    x[bad] = value
    names = [f"frame-{i}" for i in range(12)]
    with pytest.raises(InvalidEmbeddings, match=f"7 of 12 embeddings are {what}") as caught:
        Vectors.prepare(x, names=names)
    message = str(caught.value)
    assert "1 (frame-1), 4 (frame-4)" in message
    assert "and 2 more" in message
    assert "frame-9" not in message


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_nearest_is_the_oracles_first_of_equals(name, screen, tiles):
    x = oracle.INPUTS[name]()
    queries, reference = Vectors.prepare(x, screen=screen), Vectors.prepare(x[::-1].copy(), screen=screen)
    rng = np.random.default_rng(1)
    rows = rng.permutation(len(x))[: max(1, len(x) * 2 // 3)]
    cols = rng.permutation(len(x))[: max(1, len(x) // 2)]
    expected = oracle.cosines(x, x[::-1])[np.ix_(rows, cols)]
    where, value = nearest(queries, rows, reference, cols)
    np.testing.assert_array_equal(value, expected.max(axis=1))
    np.testing.assert_array_equal(where, expected.argmax(axis=1))  # argmax: the first of equals


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_nearest_answers_only_what_exceeds_its_floor(name, screen, tiles):
    x = oracle.INPUTS[name]()
    vectors, n = Vectors.prepare(x, screen=screen), len(x)
    expected = oracle.cosines(x)
    # Exactly the best cosine (which then does not exceed it), a step below, a step above, or anything.
    floor = np.clip(expected.max(axis=1) + np.arange(n) % 4 * oracle.STEP - oracle.STEP, -2, 1)
    floor[3::4] = -0.2
    floor = floor.astype(np.float32)
    before = floor.copy()
    where, value = nearest(vectors, everything(n), vectors, everything(n), floor)
    np.testing.assert_array_equal(floor, before)
    above = expected.max(axis=1) > floor
    np.testing.assert_array_equal(value, np.where(above, expected.max(axis=1), floor))
    np.testing.assert_array_equal(where, np.where(above, expected.argmax(axis=1), 0))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_any_above_is_strict(name, tier):
    x = oracle.INPUTS[name]()
    vectors = Vectors.prepare(x, screen="bfloat16")
    expected = oracle.cosines(x)
    rows, cols = everything(len(x)), everything(len(x))[::2]
    equal_to_one = expected[rows[-1], cols[0]]  # a threshold that some cosine meets exactly
    for eta in (*oracle.ETAS, equal_to_one, equal_to_one - oracle.STEP):
        got = vectors.any_above(rows, cols, float(eta), tier)
        np.testing.assert_array_equal(got, (expected[:, cols] > oracle.grid(eta)).any(axis=1), err_msg=str(eta))


def adversarial_rows(d: int) -> np.ndarray:
    """Rows whose rounding errors all point the same way, at every scale of numbers that bfloat16 has."""
    below = 1 + 127 / 256 * 2**-7 * np.ones(d)  # just under half a bfloat16 step above 1: all of it is cut off
    above = 1 + 129 / 256 * 2**-7 * np.ones(d)  # just over: rounded up
    powers = 2.0 ** -np.arange(d).clip(0, 60) * (1 + 2**-8 + 2**-16)
    signs = np.where(np.arange(d) % 2, 1, -1)
    spike = np.full(d, 1e-3)
    spike[0] = 1
    ramp = np.linspace(1, 2, d)
    rows = [below, above, powers, below * signs, above * signs, spike, ramp, ramp[::-1], signs * ramp]
    rows += list(np.random.default_rng(d).uniform(1, 1 + 2**-7, (8, d)))
    rows += [row * factor for row in rows[:5] for factor in (1.003, 1.41, 1.99)]  # another mantissa once normalised
    return np.array(rows, np.float32)


@pytest.mark.parametrize("d", [1, 2, 3, 17, 768, 4096, 65_536])
def test_no_screen_is_off_by_more_than_its_margin(d):
    x = adversarial_rows(d)
    vectors = Vectors.prepare(x, screen="bfloat16")
    other = Vectors.prepare(np.concatenate([x[::-1], oracle.noise(40, d)]), screen="bfloat16")
    unit = [v.base / np.sqrt((v.base.astype(np.float64) ** 2).sum(axis=1, keepdims=True)) for v in (vectors, other)]
    exact = unit[0] @ unit[1].T
    for tier in ("float32", "bfloat16"):
        left, right = vectors.panel(everything(len(x)), tier), other.panel(everything(len(other)), tier)
        error = np.abs(product(left, right).double().numpy() - exact).max()
        assert error <= vectors.margin(other, tier)
        assert vectors.margin(other, tier) < {"float32": 0.02, "bfloat16": 0.05}[tier]  # or it would rule nothing out
    copied = vectors.low.double().numpy() - vectors.unit.double().numpy()
    assert np.sqrt((copied**2).sum(axis=1)).max() <= vectors.low_error
    without = Vectors.prepare(x, screen="bfloat16", copy=False)
    assert (without.low, without.low_error) == (None, vectors.low_error)
    rows = np.arange(len(x))[::-2].copy()
    assert torch.equal(without.panel(rows, "bfloat16"), vectors.panel(rows, "bfloat16"))


def test_unit_rows_given_as_such_are_trusted_only_within_the_margin():
    """Rows that are nearly, not exactly, of norm 1 are taken as they are: the worst of them still fit the margin."""
    x = oracle.clumps(80, 48).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    for stretch in (1 + 0.9 * 2**-20, 1 - 0.9 * 2**-20, 1 + 1.1 * 2**-20):
        rows = (x * stretch).astype(np.float32)
        vectors = Vectors.prepare(rows, screen="float32")
        exact = oracle.cosines(rows)
        assert np.abs((vectors.unit @ vectors.unit.T).double().numpy() - exact).max() < vectors.margin(
            vectors, "float32"
        )
        np.testing.assert_array_equal(vectors.exact_tile(everything(80), vectors, everything(80)), exact)


@pytest.mark.parametrize("width", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_candidates_are_all_that_reach_the_limit_in_order(width, dtype):
    tile = torch.from_numpy(oracle.noise(9, width)).to(dtype)
    limit = torch.linspace(-1, 1.5, 9)
    limit[2] = tile[2, 0].float()  # met exactly
    expected = np.nonzero(tile.float().numpy() >= limit.numpy()[:, None])
    np.testing.assert_array_equal(candidates(tile, limit), expected)
    count = len(expected[0])
    np.testing.assert_array_equal(few_candidates(tile, limit, count), expected)
    assert few_candidates(tile, limit, count - 1) is None


def test_rounding_is_to_the_nearest_step():
    assert rounded(0.5) == 0.5
    assert rounded(1.0) == 1
    assert rounded(-1.0) == -1
    assert float(rounded(0.7)) == round(0.7 * 2**24) / 2**24
    values = np.random.default_rng(0).uniform(-1, 1, 1000)
    np.testing.assert_array_equal(rounded(values).astype(np.float64), oracle.grid(values))


@pytest.mark.parametrize("block", [1024, 7])
def test_subtracting_the_mean(block, monkeypatch):
    monkeypatch.setattr(neighbors, "BLOCK", block)
    x = oracle.clumps(50, 8)
    unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    got = subtract_mean(x)
    np.testing.assert_allclose(got, unit - unit.mean(axis=0), rtol=0, atol=1e-7)
    assert got.dtype == np.float32


def test_rows_that_are_the_mean_are_named():
    """A unit row equals the mean of unit rows only where all of them are equal."""
    with pytest.raises(
        InvalidEmbeddings, match=r"3 of 3 embeddings are equal to the pool's mean.*rows 0 \(a\), 1 \(b\)"
    ):
        subtract_mean(np.full((3, 4), 2, np.float32), list("abc"))
