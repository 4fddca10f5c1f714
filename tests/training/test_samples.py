"""A sample's frame, crop, mirroring and hidden patches depend on its number and seed alone, and are as asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meddel_hf.training.samples import by_counter, by_generator, crop_box, crops, generator, order, ranks, uniforms

N = 4000
NUMBERS = np.arange(N)


def splitmix(state: int) -> int:
    """The published generator, one number at a time, in Python's unbounded integers."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_random_numbers_are_those_of_splitmix64():
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15
    found = uniforms(np.array([0, 7, 17_656_399]), 3, 2, 4)
    offset = splitmix(3 * golden & mask)
    for row, sample in enumerate((0, 7, 17_656_399)):
        for column in range(4):
            counter = (sample * 2**16 + 2 + column + offset) & mask
            assert found[row, column] == (splitmix(counter * golden & mask) >> 11) / 2**53


def test_random_numbers_are_uniform_and_independent():
    numbers = uniforms(NUMBERS, 0, 0, 20)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_allclose(numbers.mean(axis=0), 0.5, atol=5 * math.sqrt(1 / 12 / N))
    np.testing.assert_allclose(numbers.var(axis=0), 1 / 12, atol=0.005)
    correlation = np.corrcoef(np.concatenate([numbers, uniforms(NUMBERS, 1, 0, 20)], axis=1).T)
    assert np.abs(correlation - np.eye(40)).max() < 5 / math.sqrt(N)


@pytest.mark.parametrize("permutation", [by_counter, by_generator])
def test_each_epoch_shows_every_frame_once_in_an_order_of_its_own(permutation):
    shown = order(np.arange(5 * 17), 17, 0, permutation).reshape(5, 17)
    assert (np.sort(shown, axis=1) == np.arange(17)).all()
    assert len({tuple(epoch) for epoch in shown}) == 5
    assert not np.array_equal(shown[0], order(np.arange(17), 17, 1, permutation))


def test_crops_have_the_areas_and_aspects_that_were_asked_for():
    side = 10_000
    boxes, mirrored = crops(NUMBERS, 0, side, 0.2, (True, True))
    left, top, width, height = boxes.T
    assert min(left.min(), top.min()) >= 0
    assert max((left + width).max(), (top + height).max()) <= side
    area, aspect = width * height / side**2, width / height
    inside = (width < side) & (height < side)
    assert area[inside].min() > 0.1999
    assert area.max() <= 1
    assert np.quantile(area[inside], 0.1) < 0.3
    assert 0.7499 < aspect.min() < 0.76
    assert 1.32 < aspect.max() < 1.334
    assert abs(np.log(aspect[inside]).mean()) < 0.02
    np.testing.assert_allclose(mirrored.mean(axis=0), 0.5, atol=0.05)
    whole, _ = crops(NUMBERS, 0, side, 1.0, (False, False))
    assert (whole[:, 2:].max(axis=1) == side).all()


def test_mirroring_is_what_was_asked_for():
    for axes in ((False, False), (True, False), (True, True)):
        _, mirrored = crops(NUMBERS, 0, 32, 0.2, axes)
        assert tuple(mirrored.any(axis=0)) == axes


def test_ranks_are_permutations_without_a_preference():
    found = ranks(NUMBERS, 0, 9)
    assert found.dtype == np.int16
    assert (np.sort(found, axis=1) == np.arange(9)).all()
    hidden = (found >= 3).mean(axis=0)
    np.testing.assert_allclose(hidden, 6 / 9, atol=5 * math.sqrt(6 / 9 * 3 / 9 / N))


def test_boxes_stay_inside():
    draw = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = crop_box(draw, (30, 50), 0.4)
        assert 0 <= left < right <= 50
        assert 0 <= top < bottom <= 30
        assert (right - left) * (bottom - top) >= 0.4 * 30 * 50 * 0.7  # an elongated crop is cut at the border


def test_orders_are_those_that_numpy_documents():
    """Sample by sample, from generators made afresh: other orders would be other weights from the same recipe."""
    for sample in (0, 16, 17, 18, 50):
        epoch, place = divmod(sample, 17)
        counter = np.random.Generator(np.random.Philox(np.random.SeedSequence([3, epoch]))).permutation(17)
        drawn = np.random.default_rng([3, 0, epoch]).permutation(17)
        assert order(np.array([sample]), 17, 3) == [counter[place]]
        assert order(np.array([sample]), 17, 3, by_generator) == [drawn[place]]


@pytest.mark.parametrize("permutation", [by_counter, by_generator])
def test_order_is_the_same_in_whatever_batch(permutation):
    whole = order(np.arange(40), 17, 3, permutation)
    for samples in ([39, 0, 17], range(10, 30), [16, 16]):
        assert order(np.array(samples), 17, 3, permutation).tolist() == whole[list(samples)].tolist()


def test_what_a_segmentation_draws_depends_on_sample_and_seed_alone():
    cases = [(sample, seed) for seed in (0, 1) for sample in range(20)]
    numbers = {case: tuple(generator(*case).random(3)) for case in cases}
    assert numbers == {case: tuple(generator(*case).random(3)) for case in reversed(cases)}
    assert len(set(numbers.values())) == len(cases)


def test_boxes_have_the_areas_and_aspects_that_were_asked_for():
    boxes = np.array([crop_box(generator(sample, 0), (1000, 1000), 0.2) for sample in range(N)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    inside = (width < 999.9) & (height < 999.9)
    area, aspect = (width * height)[inside] / 1e6, (width / height)[inside]
    assert 0.1999 < area.min() < 0.21
    assert area.max() <= 1
    assert 0.7499 < aspect.min() < 0.76
    assert 1.32 < aspect.max() < 1.334
    assert abs(np.log(aspect).mean()) < 0.02
