"""Colours of a view: brightness, contrast, saturation, hue, grey and blur, each a function of the sample's number.

SimCLR's changes (arXiv 2002.05709, appendix A), in one order and without clamping between them: what is then done to a
pixel is a matrix and a constant, so that all views of a batch are changed at once, on any device. Hue turns around the
grey axis of YIQ rather than of HSV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.training.samples import uniforms

_GREY = np.array([0.299, 0.587, 0.114])  # luma of ITU-R BT.601
_YIQ = np.array([_GREY, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_JITTERED = 0.8  # chance, where jitter is above 0
_SIGMA = (0.1 / 224, 2.0 / 224)  # of a blur, as a share of the view's side: SimCLR's at 224 pixels
_NUMBERS = 8  # random numbers of a view
ON_HOST = ("sigma",)  # of a batch: says which views are blurred, and a GPU that is asked keeps the processor waiting


@dataclass(frozen=True, eq=False)
class Colours:
    """What is done to the colours of n views.

    matrix: (n, 3, 3) float32, red, green and blue to red, green and blue.
    lift:   (n,) float32, how much of the view's mean grey is added to every value.
    sigma:  (n,) float32 of the Gaussian blur, as a share of the view's side; 0: none.
    """

    matrix: NDArray[np.float32]
    lift: NDArray[np.float32]
    sigma: NDArray[np.float32]


def drawn(samples: NDArray[np.int64], seed: int, recipe: Recipe, first: int) -> Colours:
    """Of a view of each sample, (m,). first: of the random numbers of each sample that are used."""
    jittered, bright, contrast, saturation, hue, grey, blurred, sigma = uniforms(samples, seed, first, _NUMBERS).T
    strength = recipe.jitter * (jittered < _JITTERED)

    def factor(number: NDArray[np.float64]) -> Any:
        return 1 + 0.8 * strength * (2 * number - 1)

    brightness, contrast = factor(bright), factor(contrast)
    kept = factor(saturation) * (grey >= recipe.grey)  # of the colour; nothing of a grey view
    turned = _turned(0.2 * strength * (2 * hue - 1) * 2 * np.pi)
    saturated = kept[:, None, None] * np.eye(3) + (1 - kept)[:, None, None] * _GREY
    matrix = (brightness * contrast)[:, None, None] * (saturated @ turned)
    low, high = _SIGMA
    return Colours(
        matrix.astype(np.float32),
        (brightness * (1 - contrast)).astype(np.float32),
        np.where(blurred < recipe.blur, low + (high - low) * sigma, 0).astype(np.float32),
    )


def _turned(angle: NDArray[np.float64]) -> Any:
    """(m,) angles around the grey axis -> (m, 3, 3) matrices."""
    turn = np.zeros((len(angle), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 1, 2], turn[:, 2, 1] = -np.sin(angle), np.sin(angle)
    return np.linalg.inv(_YIQ) @ turn @ _YIQ


def changed(pixels: Tensor, matrix: Tensor, lift: Tensor, sigma: Tensor) -> Tensor:
    """(n, 3, H, W) float32 in [0, 1] -> the same, changed as `Colours` says and clamped; sigma is on the processor."""
    grey = torch.tensor(_GREY, dtype=torch.float32).to(pixels.device, non_blocking=True)
    lifted = lift * (pixels.mean(dim=(2, 3)) @ grey)
    mixed = torch.baddbmm(lifted.view(-1, 1, 1), matrix, pixels.flatten(2)).view_as(pixels).clamp_(0, 1)
    which = sigma.nonzero().flatten()
    if len(which):
        side = pixels.shape[-1]
        reach = math.ceil(3 * _SIGMA[1] * side)  # the same in every batch
        spread, which = (each.to(pixels.device, non_blocking=True) for each in (sigma[which] * side, which))
        mixed[which] = blurred(mixed[which], spread, reach)
    return mixed


def blurred(pixels: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """(n, 3, H, W) float32, each with its own Gaussian of (n,) sigma pixels, cut off at `reach` pixels from its middle;
    edges are mirrored."""
    reach = min(reach, min(pixels.shape[2:]) - 1)
    taps = torch.arange(-reach, reach + 1, device=pixels.device)
    weights = torch.exp(-0.5 * (taps / sigma.unsqueeze(1)) ** 2)
    weights = weights / weights.sum(dim=1, keepdim=True)
    for axis in (2, 3):
        beside = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        wide = functional.pad(pixels, beside, mode="reflect")
        side = pixels.shape[axis]
        pixels = torch.zeros_like(pixels)
        for tap in range(2 * reach + 1):
            pixels.addcmul_(wide.narrow(axis, tap, side), weights[:, tap].view(-1, 1, 1, 1))
    return pixels
