"""What a device answers, against the processor's bytes and plain float64; the same code runs on the processor here."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch
from drawn_rows import rows_in_order
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meddel_hf.dedup.block_engine import BlockEngine
from meddel_hf.dedup.pair_engine import PairEngine
from meddel_hf.dedup.passes import apply
from meddel_hf.dedup.sampling import drawn
from meddel_hf.neighbors.clustering import cluster
from meddel_hf.neighbors.cosines import Vectors, cosine_to_mean, nearest
from meddel_hf.neighbors.device import greedy, products
from meddel_hf.neighbors.device import rows as device
from meddel_hf.neighbors.knn import nearest_many, neighbors
from meddel_hf.neighbors.pairs import pairs_between, pairs_within
from meddel_hf.runtime.devices import searching_on

ON_A_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
SCREENS = ["float32", "bfloat16"]
# numbers of a product, rows asked about, numbers of a dense one, share that may be gathered: all odd, or as they are
SIZES = [None, (2**12, 48, 500, 512), (2**12, 48, 500, 2**20)]


def around_the_margin(n: int = 90, d: int = 64) -> np.ndarray:
    """Rows whose cosines to the first lie a screen's error, or a rounding, above and below 0.8."""
    rng = np.random.default_rng(5)
    first = rng.standard_normal(d)
    first /= np.linalg.norm(first)
    aside = rng.standard_normal((n, d))
    aside -= (aside @ first)[:, None] * first
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    steps = np.repeat([0, 2.0**-25, 2.0**-24, 1e-6, 1e-4, 1e-3, 5e-3, 1e-2, 3e-2], n // 9)
    cosine = 0.8 + steps * np.where(np.arange(n) % 2, 1, -1)
    rows = cosine[:, None] * first + np.sqrt(1 - cosine**2)[:, None] * aside
    rows[0] = first
    return rows


POOLS = {**oracle.INPUTS, "around the margin": around_the_margin, "raw lengths": lambda: oracle.clumps(200, 12) * 1e20}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=ON_A_GPU)])
def place(request):
    return torch.device(request.param)


def set_sizes(patch, sizes) -> None:
    if sizes is not None:
        patch.setattr(device, "_SMALL", sizes[0])
        patch.setattr(device, "_LARGE", sizes[0])
        patch.setattr(products, "WIDE", sizes[1])
        patch.setattr(products, "_DENSE", sizes[2])
        patch.setattr(products, "CROWD", sizes[3])
        patch.setattr(greedy, "_FEW_PAIRS", 40)
        patch.setattr(greedy, "_PAIRS_PER_ROW", 1)


@pytest.fixture(params=SIZES, ids=str)
def sizes(request, monkeypatch):
    set_sizes(monkeypatch, request.param)


def same(one, other) -> None:
    """Equal to the last bit, kind of number included."""
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.tobytes() == other.tobytes()


def groupings(n: int) -> list[list[np.ndarray]]:
    """All rows in one group; several with three rows in none; many small ones."""
    order = np.random.default_rng(n).permutation(n)
    left = order[: max(1, n - 3)]
    few = [part for part in np.split(left, [1, 1 + len(left) // 3]) if len(part)]
    return [[order], few, [part for part in np.array_split(order, 1 + n // 6) if len(part)]]


@pytest.mark.parametrize("name", POOLS)
def test_cosines_are_those_of_float64(name, place, monkeypatch):
    monkeypatch.setattr("meddel_hf.neighbors.cosines._PAIRS_FOR_A_DEVICE", 0)
    monkeypatch.setattr(device, "_NUMBERS", 100)
    x = POOLS[name]()
    n, rows = len(x), np.arange(len(x))
    vectors, there = Vectors.prepare(x), Vectors.prepare(x, device=place)
    expected = oracle.cosines(x).astype(np.float32)
    i, j = (part.ravel() for part in np.indices((n, n)))
    for got in (there.exact(i, there, j).reshape(n, n), there.exact_tile(rows, there, rows)):
        np.testing.assert_array_equal(got, expected)
        same(got, vectors.exact_tile(rows, vectors, rows))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8", "int32"])
def test_any_kind_of_number_and_layout(dtype, place):
    x = (oracle.clumps(70, 9) * 10).astype(dtype)
    rows = np.arange(70)
    for variant in (x, np.asfortranarray(x), x[::-1][::-1]):
        variant.flags.writeable = False
        there = Vectors.prepare(variant, device=place)
        np.testing.assert_array_equal(there.exact_tile(rows, there, rows), oracle.cosines(x))


def test_what_two_orders_of_a_sum_may_round_apart_is_asked_of_the_processor(place, monkeypatch):
    """With a slack so wide that every cosine is in doubt, each one is asked for, and the answer stays."""
    x = oracle.clumps(40, 16)
    asked = []
    ask = device.DeviceRows._ask
    monkeypatch.setattr(device, "slack", lambda dim: 1e-3)
    monkeypatch.setattr(
        device.DeviceRows, "_ask", lambda self, *pairs: asked.append(len(pairs[0])) or ask(self, *pairs)
    )
    there, rows = Vectors.prepare(x, device=place), np.arange(40)
    np.testing.assert_array_equal(there.exact_tile(rows, there, rows), oracle.cosines(x))
    assert sum(asked) == 40 * 40


@pytest.mark.parametrize("d", [1, 3, 17, 768, 4096])
def test_no_screen_is_off_by_more_than_its_margin(d, place):
    rng = np.random.default_rng(d)
    below, above = (1 + share / 256 * 2**-7 * np.ones(d) for share in (127, 129))  # all cut off, or all rounded up
    signs = np.where(np.arange(d) % 2, 1, -1)
    ramp = np.linspace(1, 2, d)
    few = [below, above, ramp, ramp[::-1], below * signs, ramp * signs, 2.0 ** -np.arange(d).clip(0, 60)]
    x = np.array([*few, *rng.uniform(1, 1 + 2**-7, (40, d)), *rng.standard_normal((40, d))], np.float32)
    rows = device.DeviceRows.copy(x, np.sqrt((x.astype(np.float64) ** 2).sum(axis=1)), place, low=True)
    index, unit = rows.index(np.arange(len(x))), x / np.sqrt((x.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    for tier, most in (("float32", 0.003), ("bfloat16", 0.06)):
        with device.full_products():
            panel = rows.panel(index, tier)
            tile = products.product(panel, panel).flatten(0, 1)[: len(x), : len(x)].double().cpu().numpy()
        margin = rows.margin(rows, tier)
        assert np.abs(tile - unit @ unit.T).max() <= margin < most
    copied = rows.low[:, :d].double().cpu().numpy() - unit
    assert np.sqrt((copied**2).sum(axis=1)).max() <= rows.low_error


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", POOLS)
def test_nearest(name, screen, sizes, place):
    x = POOLS[name]()
    rng = np.random.default_rng(1)
    rows = rng.permutation(len(x))[: max(1, len(x) * 2 // 3)]
    cols = rng.permutation(len(x))[: max(1, len(x) // 2)]
    one = [Vectors.prepare(part, screen=screen, device=place) for part in (x, x[::-1].copy())]
    expected = oracle.cosines(x, x[::-1])[np.ix_(rows, cols)]
    where, value = nearest(one[0], rows, one[1], cols)
    np.testing.assert_array_equal(value, expected.max(axis=1))
    np.testing.assert_array_equal(where, expected.argmax(axis=1))
    # Exactly the best cosine, which then does not exceed it, a step below, a step above, or anything.
    floor = np.clip(expected.max(axis=1) + np.arange(len(rows)) % 4 * oracle.STEP - oracle.STEP, -2, 1)
    floor[3::4] = -0.2
    floor = floor.astype(np.float32)
    where, value = nearest(one[0], rows, one[1], cols, floor)
    above = expected.max(axis=1) > floor
    np.testing.assert_array_equal(value, np.where(above, expected.max(axis=1), floor))
    np.testing.assert_array_equal(where, np.where(above, expected.argmax(axis=1), 0))


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", POOLS)
def test_the_k_nearest(name, screen, sizes, place):
    x = POOLS[name]()
    there = Vectors.prepare(x, screen=screen, device=place)
    rows, cols = np.random.default_rng(1).permutation(len(x))[:40], np.random.default_rng(2).permutation(len(x))
    cosine = oracle.cosines(x)[np.ix_(rows, cols)]
    for k in (1, 2, 5, len(x) + 3):
        where, value = nearest_many(there, rows, there, cols, k)
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(where, order)
        np.testing.assert_array_equal(value, np.take_along_axis(cosine, order, axis=1))


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", POOLS)
def test_pairs(name, screen, sizes, place):
    x = POOLS[name]()
    with searching_on("cpu"):
        plain = Vectors.prepare(x, screen="float32")
    there, cosine = Vectors.prepare(x, screen=screen, device=place), oracle.cosines(x)
    for groups in groupings(len(x)):
        for eta in (-1.0, 0.5, 0.8, 1 - 2**-24):
            got, expected = pairs_within(there, groups, eta), pairs_within(plain, groups, eta)
            for field in ("first", "second", "cosine"):
                same(getattr(got, field), getattr(expected, field))
            pairs = zip(got.first.tolist(), got.second.tolist(), strict=True)
            assert dict(zip(pairs, got.cosine.tolist(), strict=True)) == oracle.pairs(cosine, groups, eta)
    half = len(x) // 2
    got, expected = (pairs_between(v, [(np.arange(half), np.arange(half, len(x)))], 0.3) for v in (there, plain))
    same(got.first, expected.first)
    same(got.cosine, expected.cosine)
    assert pairs_within(there, [np.arange(len(x))], -1.1, most=0) is None or len(x) == 1


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", POOLS)
def test_both_rules_and_the_nearest_kept(name, screen, sizes, place):
    x = POOLS[name]()
    there, cosine = Vectors.prepare(x, screen=screen, device=place), oracle.cosines(x)
    for groups in groupings(len(x)):
        engine = BlockEngine(there, groups)
        for eta in (*oracle.ETAS, float(cosine[0, len(x) // 2])):
            kept = apply(engine, "greedy", eta).kept
            np.testing.assert_array_equal(kept, oracle.greedy(cosine, groups, eta), err_msg=str(eta))
            np.testing.assert_array_equal(
                apply(engine, "semdedup", eta).kept, oracle.semdedup(cosine, groups, eta), err_msg=str(eta)
            )
        where, value = engine.nearest_kept(oracle.greedy(cosine, groups, 0.8))
        expected = oracle.nearest_kept(cosine, groups, oracle.greedy(cosine, groups, 0.8))
        np.testing.assert_array_equal(where, expected[0])
        np.testing.assert_array_equal(value, expected[1])
        whole = oracle.greedy(cosine, groups, 0.8)
        for limit in {1, int(whole.sum()) // 2, int(whole.sum())} - {0}:
            on_pairs = PairEngine(pairs_within(there, groups, 0.8), len(x), groups)
            one, other = engine.greedy(0.8, limit), on_pairs.greedy(0.8, limit)
            np.testing.assert_array_equal(one.kept, other.kept)
            assert (one.count, one.complete, one.share) == (other.count, other.complete, other.share)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scale", [1, 3.7])
def test_a_larger_pool_equals_the_processors(screen, scale, place):
    """Unit rows and others; centroids, means, neighbours and pairs to the last bit."""
    x = oracle.clumps(1200, 48, seed=3)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True) * scale).astype(np.float32)
    everyone = np.arange(len(x))
    with searching_on("cpu"):
        plain = Vectors.prepare(x, screen=screen)
    there = Vectors.prepare(x, screen=screen, device=place)
    same(there.unit_rows(everyone[::7]), plain.unit_rows(everyone[::7]))
    same(cosine_to_mean(there, everyone), cosine_to_mean(plain, everyone))
    one, other = (cluster(vectors, everyone, None, 0) for vectors in (there, plain))
    same(one.label, other.label)
    same(one.cosine, other.cosine)
    same(one.centroids.base, other.centroids.base)
    one, other = (neighbors(vectors, 20) for vectors in (there, plain))
    same(one.rows, other.rows)
    same(one.cosine, other.cosine)
    one, other = (neighbors(vectors, 20, exact_up_to=100) for vectors in (there, plain))
    same(one.rows, other.rows)
    groups = [everyone[:700], everyone[700:701], everyone[701:]]
    one, other = (drawn(vectors, groups) for vectors in (there, plain))
    same(one.stay, other.stay)
    same(one.pairs, other.pairs)
    one, other = (BlockEngine(vectors, [everyone[::-1].copy()]) for vectors in (there, plain))
    for eta in (0.3, 0.7, 0.9):
        kept = other.greedy(eta).kept
        same(one.greedy(eta).kept, kept)
        for got, expected in zip(one.nearest_kept(kept), other.nearest_kept(kept), strict=True):
            same(got, expected)


@st.composite
def pools(draw):
    """A pool of small whole numbers, hence copies and ties, or of floats; an order, and a threshold it may meet."""
    x, order = draw(rows_in_order(2))
    n = len(x)
    pair = draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1))
    return x, order, float(np.clip(oracle.cosines(x)[pair] + draw(st.sampled_from([-1, 0, 1])) * oracle.STEP, -1, 1))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pool=pools(), screen=st.sampled_from(SCREENS), sizes=st.sampled_from([None, (64, 7, 20, 512), (64, 5, 9, 2**20)])
)
def test_any_pool(pool, screen, sizes, place):
    x, order, eta = pool
    cosine, n = oracle.cosines(x), len(x)
    with pytest.MonkeyPatch.context() as patch:
        set_sizes(patch, sizes)
        there = Vectors.prepare(x, screen=screen, device=place)
        kept = BlockEngine(there, [order]).greedy(eta).kept
        np.testing.assert_array_equal(kept, oracle.greedy(cosine, [order], eta))
        where, value = BlockEngine(there, [order]).nearest_kept(kept)
        expected = oracle.nearest_kept(cosine, [order], kept)
        np.testing.assert_array_equal(where, expected[0])
        np.testing.assert_array_equal(value, expected[1])
        got = pairs_within(there, [order], eta)
        pairs = zip(got.first.tolist(), got.second.tolist(), strict=True)
        assert dict(zip(pairs, got.cosine.tolist(), strict=True)) == oracle.pairs(cosine, [order], eta)
        near = nearest_many(there, order, there, np.arange(n), 3)[0]
        np.testing.assert_array_equal(near, np.argsort(-cosine[order], axis=1, kind="stable")[:, :3])


@pytest.mark.filterwarnings("ignore:Please use the new API")
@pytest.mark.parametrize("usual", ["highest", "high", "medium"])
@pytest.mark.parametrize("allowed", [True, False])
def test_settings_of_products_are_set_back(usual, allowed):
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction
    try:
        matmul.allow_bf16_reduced_precision_reduction = allowed
        torch.set_float32_matmul_precision(usual)
        single = getattr(matmul, "fp32_precision", None)
        with device.full_products():
            with device.full_products():
                assert not matmul.allow_bf16_reduced_precision_reduction
            assert not matmul.allow_bf16_reduced_precision_reduction
            assert torch.get_float32_matmul_precision() == "highest"
            assert single is None or matmul.fp32_precision == "ieee"
        assert matmul.allow_bf16_reduced_precision_reduction == allowed
        assert torch.get_float32_matmul_precision() == usual
        assert getattr(matmul, "fp32_precision", None) == single
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch has one name for it")
def test_tf32_that_was_asked_for_by_its_new_name_comes_back():
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        with device.full_products():
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


def test_rows_that_do_not_fit_stay_with_the_processor(caplog, monkeypatch):
    place = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
    monkeypatch.setattr(device, "_product_numbers", lambda _: 2**20)
    assert device.fits((100_000, 768), 4, place)
    assert not caplog.messages
    assert not device.fits((1_000_000, 768), 4, place)
    assert "2.0 GB free, and a search of 1,000,000 embeddings needs 4.6 GB there" in caplog.messages[0]
