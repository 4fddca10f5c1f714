"""What a sample shows depends on its number and the seed alone; crops, mirrors and masks are what they should be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.views import Views, as_one_batch, cropped
from meddel_hf.training.samples import crops, order, ranks, uniforms

N = 4000
NUMBERS = np.arange(N)
RECIPE = Recipe(image_size=24, patch_size=8, samples=96, batch_size=8, flips="both")


class Squares:
    """Frames of one colour each, so that a view tells which frame it shows."""

    side = 32

    def read(self, rows):
        return [np.full((32, 32, 3), row, np.uint8) for row in rows]


def views(rows=range(100, 117), seed=0) -> Views:
    return Views(Squares(), rows, RECIPE, seed)


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


def test_each_epoch_shows_every_frame_once_in_an_order_of_its_own():
    shown = order(np.arange(5 * 17), 17, 0).reshape(5, 17)
    assert (np.sort(shown, axis=1) == np.arange(17)).all()
    assert len({tuple(epoch) for epoch in shown}) == 5
    assert not np.array_equal(order(np.arange(17), 17, 0), order(np.arange(17), 17, 1))


def test_a_sample_is_the_same_in_whatever_batch():
    whole = views().__getitems__(range(64))
    for samples in ([0], [63, 5], list(range(10, 40))):
        part = views().__getitems__(samples)
        for name in ("pixels", "ranks"):
            np.testing.assert_array_equal(part[name], whole[name][samples])
    np.testing.assert_array_equal(views()[9]["ranks"][0], whole["ranks"][9])
    assert not np.array_equal(views(seed=1).__getitems__(range(64))["ranks"], whole["ranks"])


def test_views_show_the_rows_they_should():
    shown = [int(view["pixels"][0, 0, 0, 0]) for view in map(views().__getitem__, range(17))]
    assert sorted(shown) == list(range(100, 117))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_make_the_same_batches(workers):
    loader = DataLoader(views(), batch_size=8, collate_fn=as_one_batch, num_workers=workers)
    pixels = np.concatenate([batch["pixels"] for batch in loader])
    np.testing.assert_array_equal(pixels, views().__getitems__(range(96))["pixels"])


@pytest.mark.parametrize(("processes", "accumulation"), [(2, 1), (1, 2), (2, 2), (4, 1)])
def test_processes_share_out_the_samples_of_a_step(processes, accumulation):
    size = RECIPE.batch_size // processes // accumulation
    sampler = BatchSampler(SequentialSampler(views()), size, drop_last=True)
    parts = [list(BatchSamplerShard(sampler, processes, index)) for index in range(processes)]
    for step in range(RECIPE.steps):
        here = slice(step * accumulation, (step + 1) * accumulation)
        seen = sorted(sample for part in parts for batch in part[here] for sample in batch)
        assert seen == list(range(step * RECIPE.batch_size, (step + 1) * RECIPE.batch_size))


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


def test_cutting_and_scaling_is_that_of_pillow_to_rounding():
    """Pillow knows crop, resize with antialiasing, and transpose; torch should differ by rounding alone."""
    rng = np.random.default_rng(0)
    frames = [np.asarray(Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((64, 64), 3)).copy()
              for _ in range(40)]  # fmt: skip
    boxes, mirrored = crops(np.arange(40), 0, 64, 0.1, (True, True))
    found = cropped(frames, boxes, mirrored, 48).numpy()
    for frame, (left, top, width, height), (across, down), view in zip(frames, boxes, mirrored, found, strict=True):
        part = Image.fromarray(frame).crop((left, top, left + width, top + height)).resize((48, 48), 2)
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if across else part
        part = part.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if down else part
        assert np.abs(view.transpose(1, 2, 0).astype(int) - np.asarray(part)).max() <= 1


def test_ranks_are_permutations_without_a_preference():
    found = ranks(NUMBERS, 0, 9)
    assert found.dtype == np.int16
    assert (np.sort(found, axis=1) == np.arange(9)).all()
    hidden = (found >= 3).mean(axis=0)
    np.testing.assert_allclose(hidden, 6 / 9, atol=5 * math.sqrt(6 / 9 * 3 / 9 / N))
