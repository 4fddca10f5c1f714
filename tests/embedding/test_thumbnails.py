"""Thumbnails against Pillow's own box filter, and their likeness against a correlation written out in loops."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from meddel_hf.embedding.thumbnails import SIDE, likeness, thumbnails


def smooth(seed: int, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    """(32, 32) uint8 window of a smooth picture; windows of one seed show the same picture."""
    big = np.random.default_rng(seed).integers(0, 256, (9, 9), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(big).resize((48, 48), Image.Resampling.BICUBIC))
    down, along = 8 + shift[0], 8 + shift[1]
    return picture[down : down + SIDE, along : along + SIDE]


def slowly(a: np.ndarray, b: np.ndarray) -> float:
    """The greatest Pearson correlation over all shifts of at most two pixels, cell by cell."""
    best = -1.0
    for down in range(-2, 3):
        for along in range(-2, 3):
            both = [
                (float(a[y, x]), float(b[y - down, x - along]))
                for y in range(SIDE) for x in range(SIDE)
                if 0 <= y - down < SIDE and 0 <= x - along < SIDE
            ]  # fmt: skip
            best = max(best, float(np.corrcoef(np.array(both).T)[0, 1]))
    return best


def test_they_are_the_mean_over_colours_and_cells():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    grey = pixels.astype(np.float64).mean(axis=3)
    for made, frame in zip(thumbnails(pixels), grey, strict=True):
        box = Image.fromarray(frame.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX)
        assert made.shape == (SIDE, SIDE)
        assert np.abs(made - np.asarray(box, np.float64)).max() <= 0.51


@pytest.mark.parametrize("shift", [(0, 0), (1, -2), (2, 2), (3, 0)])
def test_likeness_is_the_best_correlation_over_small_shifts(shift):
    left = np.stack([smooth(1), smooth(2), smooth(3)])
    right = np.stack([smooth(1, shift), smooth(2, shift), smooth(4)])
    expected = [slowly(a, b) for a, b in zip(left, right, strict=True)]
    assert likeness(left, right) == pytest.approx(expected, abs=1e-4)
    if max(map(abs, shift)) <= 2:
        assert likeness(left, right)[:2] == pytest.approx([1, 1], abs=1e-5)


def test_flat_pictures_are_like_flat_ones_alone():
    flat, other, picture = np.full((SIDE, SIDE), 7, np.uint8), np.zeros((SIDE, SIDE), np.uint8), smooth(5)
    assert likeness(np.stack([flat, flat]), np.stack([other, picture])).tolist() == [1, 0]
    assert likeness(np.zeros((0, SIDE, SIDE), np.uint8), np.zeros((0, SIDE, SIDE), np.uint8)).shape == (0,)
