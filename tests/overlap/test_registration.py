"""Thumbnails laid over one another, against windows that are cut and correlated one by one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tiny import textured

from meddel_hf.embedding.thumbnails import SIDE
from meddel_hf.overlap.registration import MOST, registered


def thumbnail(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def window(picture: np.ndarray, top: float, bottom: float, left: float, right: float) -> np.ndarray:
    """Linear interpolation at the middle of each cell of the window, pixel by pixel."""
    result = np.zeros((SIDE, SIDE))
    for r in range(SIDE):
        for c in range(SIDE):
            y = (top + (r + 0.5) / SIDE * (1 - top - bottom)) * SIDE - 0.5
            x = (left + (c + 0.5) / SIDE * (1 - left - right)) * SIDE - 0.5
            y, x = min(max(y, 0), SIDE - 1), min(max(x, 0), SIDE - 1)
            y0, x0 = min(int(y), SIDE - 2), min(int(x), SIDE - 2)
            fy, fx = y - y0, x - x0
            upper = picture[y0, x0] * (1 - fx) + picture[y0, x0 + 1] * fx
            lower = picture[y0 + 1, x0] * (1 - fx) + picture[y0 + 1, x0 + 1] * fx
            result[r, c] = upper * (1 - fy) + lower * fy
    return result


def one_by_one(left: np.ndarray, right: np.ndarray, cuts: list[tuple[float, float, float, float]]) -> float:
    """The greatest correlation over these windows of either."""
    pairs = [(left, window(right, *cut)) for cut in cuts] + [(right, window(left, *cut)) for cut in cuts]
    return max(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs)


def test_the_greatest_of_all_windows_is_found():
    steps = np.linspace(0, MOST, 4)
    cuts = [tuple(cut) for cut in np.stack(np.meshgrid(*[steps] * 4), -1).reshape(-1, 4)]
    left, right = (thumbnail(textured(seed, (96, 96))).astype(float) for seed in (1, 2))
    answer = registered(left[None].astype(np.uint8), right[None].astype(np.uint8))
    assert answer.likeness[0] == pytest.approx(one_by_one(left, right, cuts), abs=1e-4)


def test_a_cropped_copy_of_another_brightness_lies_on_its_frame():
    frame, other = textured(3, (200, 200)), textured(4, (200, 200))
    cropped = frame.crop((14, 0, 200, 186)).point(lambda value: int(20 + value * 0.7))
    small, whole, unlike = (thumbnail(image)[None] for image in (cropped, frame, other))
    for left, right, slope in ((small, whole, 0.7), (whole, small, 1 / 0.7)):  # either may be the window
        answer = registered(left, right, fine=True)
        assert answer.likeness[0] > 0.97
        assert answer.cut[0] == pytest.approx(0.07, abs=0.018)
        assert answer.slope[0] == pytest.approx(slope, rel=0.05)
    assert registered(small, unlike, fine=True).likeness[0] < 0.9


def test_what_it_says_of_brightness():
    frame = thumbnail(textured(5, (96, 96)))
    darker = np.round(frame * 0.5 + 10).astype(np.uint8)
    answer = registered(darker[None], frame[None])
    assert answer.likeness[0] > 0.999
    assert answer.slope[0] == pytest.approx(0.5, rel=0.02)
    assert answer.level[0] == pytest.approx(float(darker.mean()) - float(frame.mean()), abs=0.5)


def test_flat_pictures_are_like_nothing():
    flat, frame = np.full((1, SIDE, SIDE), 90, np.uint8), thumbnail(textured(6, (96, 96)))[None]
    for left, right in ((flat, frame), (frame, flat), (flat, flat)):
        assert registered(left, right).likeness[0] == 0
    assert registered(frame[:0], frame[:0]).likeness.shape == (0,)


def test_many_pairs_are_each_as_alone():
    rng = np.random.default_rng(0)
    left, right = (rng.integers(0, 256, (150, SIDE, SIDE), dtype=np.uint8) for _ in range(2))
    together = registered(left, right).likeness
    alone = [registered(left[i : i + 1], right[i : i + 1]).likeness[0] for i in (0, 63, 64, 149)]
    assert together[[0, 63, 64, 149]] == pytest.approx(alone, abs=1e-6)
