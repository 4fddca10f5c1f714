"""Colours of views: against the same changes one after the other in plain numpy, and against scipy's blur."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from meddel_hf.pretraining.colours import Colours, blurred, changed, drawn
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.training.samples import uniforms

N, SIDE, FIRST = 4000, 5, 6
RECIPE = Recipe(objective="simclr", jitter=0.3, grey=0.2, blur=0.0)
LUMA = np.array([0.299, 0.587, 0.114])


def tensors(colours: Colours) -> list[torch.Tensor]:
    return [torch.from_numpy(getattr(colours, name)) for name in ("matrix", "lift", "sigma")]


def soft(n: int) -> np.ndarray:
    """(n, 3, SIDE, SIDE) of values about a half, which no change below takes out of [0, 1]."""
    return np.random.default_rng(0).uniform(0.42, 0.58, (n, 3, SIDE, SIDE)).astype(np.float32)


def turned(pixels: np.ndarray, angle: float) -> np.ndarray:
    """(3, H, W), hue turned by an angle around the grey axis, pixel by pixel with the standard library's YIQ."""
    answer = np.empty_like(pixels, np.float64)
    for y, x in np.ndindex(pixels.shape[1:]):
        luma, i, q = colorsys.rgb_to_yiq(*map(float, pixels[:, y, x]))
        i, q = i * np.cos(angle) - q * np.sin(angle), i * np.sin(angle) + q * np.cos(angle)
        # by hand, since colorsys clamps on its way back
        red_green_blue = np.linalg.solve([colorsys.rgb_to_yiq(*axis) for axis in np.eye(3)], np.eye(3))
        answer[:, y, x] = np.array([luma, i, q]) @ red_green_blue
    return answer


def test_all_changes_at_once_are_one_after_the_other():
    samples = np.arange(120)
    pixels, colours = soft(120), drawn(samples, 3, RECIPE, FIRST)
    found = changed(torch.from_numpy(pixels), *tensors(colours)).numpy()
    seen = set()
    for view, (a, b, c, d, e, g, _, _) in enumerate(uniforms(samples, 3, FIRST, 8)):
        one = pixels[view].astype(np.float64)
        if a < 0.8:
            bright, contrast, saturation = (1 + 0.8 * 0.3 * (2 * number - 1) for number in (b, c, d))
            one = one * bright
            one = contrast * one + (1 - contrast) * np.einsum("c,chw->hw", LUMA, one).mean()
            luma = np.einsum("c,chw->hw", LUMA, one)
            one = saturation * one + (1 - saturation) * luma
            one = turned(one, 0.2 * 0.3 * (2 * e - 1) * 2 * np.pi)
        if g < 0.2:
            one = np.broadcast_to(np.einsum("c,chw->hw", LUMA, one), one.shape)
        seen.add((a < 0.8, g < 0.2))
        assert one.min() > 0
        assert one.max() < 1
        np.testing.assert_allclose(found[view], one, atol=2e-3)  # colorsys rounds its coefficients to two digits
    assert len(seen) == 4


def test_chances_and_strengths_are_those_of_the_recipe():
    recipe = RECIPE.but(jitter=1.0, grey=0.25, blur=0.4)
    colours = drawn(np.arange(N), 0, recipe, FIRST)
    near = 4 * np.sqrt(0.25 / N)
    grey = np.ptp(colours.matrix, axis=1).max(axis=1) < 1e-6  # red, green and blue become the same
    assert abs(grey.mean() - 0.25) < near
    assert abs((colours.sigma > 0).mean() - 0.4) < near
    assert abs((colours.lift != 0).mean() - 0.8) < near
    of_224 = colours.sigma[colours.sigma > 0] * 224
    assert 0.1 <= of_224.min() < 0.15
    assert 1.95 < of_224.max() <= 2.0
    bright = colours.matrix.sum(axis=2)[:, 0] + colours.lift  # what white becomes: its brightness
    assert 0.2 <= bright.min() < 0.22
    assert 1.78 < bright.max() <= 1.8
    none = drawn(np.arange(N), 0, recipe.but(jitter=0.0, grey=0.0, blur=0.0), FIRST)
    np.testing.assert_allclose(none.matrix, np.broadcast_to(np.eye(3), (N, 3, 3)), atol=1e-6)
    assert not none.lift.any()
    assert not none.sigma.any()


def test_grey_stays_grey_under_any_hue_and_saturation():
    grey = torch.full((50, 3, 4, 4), 0.5)
    found = changed(grey, *tensors(drawn(np.arange(50), 0, RECIPE.but(jitter=1.0), FIRST)))
    assert float((found - found[:, :1]).abs().max()) < 1e-5


def test_colours_are_clamped():
    found = changed(torch.rand(64, 3, 8, 8), *tensors(drawn(np.arange(64), 0, RECIPE.but(jitter=1.0), FIRST)))
    assert (float(found.min()), float(found.max())) == (0.0, 1.0)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_a_blur_is_scipys(sigma):
    pixels, reach = np.random.default_rng(1).random((2, 3, 20, 20)).astype(np.float32), 6
    found = blurred(torch.from_numpy(pixels), torch.full((2,), sigma), reach)
    expected = gaussian_filter(pixels.astype(np.float64), (0, 0, sigma, sigma), mode="mirror", truncate=reach / sigma)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_view_is_the_same_whatever_is_blurred_beside_it():
    pixels = torch.rand(3, 3, 224, 224)
    matrix, lift = torch.eye(3).expand(3, 3, 3), torch.zeros(3)
    sigma = torch.tensor([0.3, 1.0, 2.0]) / 224
    together = changed(pixels, matrix, lift, sigma)
    for view in range(3):
        alone = changed(pixels[[view]], matrix[[view]], lift[[view]], sigma[[view]])
        torch.testing.assert_close(alone[0], together[view], rtol=0, atol=1e-6)


def test_small_views_are_blurred_too():
    found = changed(torch.rand(1, 3, 4, 4), torch.eye(3)[None], torch.zeros(1), torch.tensor([0.5]))
    assert found.isfinite().all()
