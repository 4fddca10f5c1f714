"""Samples by their number: which frame each shows, its crop, its mirroring and its hidden patches.

Sample s of a run is the same whatever process or worker makes it, whether the run was interrupted, and whatever stands
before it: nothing is drawn one after the other, all is computed from (seed, s).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ASPECT = np.log(4 / 3)  # crops are from 3:4 to 4:3
_NUMBERS = 1 << 16  # random numbers that a sample may use; 6 for its view, the others for its patches
_FOR_THE_VIEW = 6

Permutation = Callable[[int, int, int], NDArray[np.int64]]


@lru_cache(maxsize=4)  # batches cross from one epoch to the next
def by_counter(rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """(rows,) the order of an epoch of pre-training."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch]))).permutation(rows)


@lru_cache(maxsize=4)
def by_generator(rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """(rows,) the order of an epoch of a segmentation."""
    return np.random.default_rng([seed, 0, epoch]).permutation(rows)


def order(samples: NDArray[np.int64], rows: int, seed: int, permutation: Permutation = by_counter) -> NDArray[np.int64]:
    """Which of `rows` frames each sample shows, (m,): every epoch is a permutation of its own."""
    epochs, places = np.divmod(samples, rows)
    frames = np.empty(len(samples), np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        frames[here] = permutation(rows, seed, int(epoch))[places[here]]
    return frames


def uniforms(samples: NDArray[np.int64], seed: int, first: int, count: int) -> NDArray[np.float64]:
    """(m, count) random numbers in [0, 1), numbers first ... first + count - 1 of each sample.

    SplitMix64 (Steele, Lea and Flood, 2014): a mixed counter, so any sample's numbers are had without the ones before.
    """
    numbers = np.arange(first, first + count).astype(np.uint64)
    counters = samples.astype(np.uint64)[:, None] * np.uint64(_NUMBERS) + numbers
    bits: Any = _mixed(counters + _mixed(np.array([seed]).astype(np.uint64))) >> np.uint64(11)
    answer: NDArray[np.float64] = bits.astype(np.float64) * 2.0**-53
    return answer


def _mixed(counters: Any) -> Any:
    """uint64 -> uint64, the same shape."""
    z = (counters + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # wraps around, as it should
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def crops(
    samples: NDArray[np.int64],
    seed: int,
    side: int,
    smallest: float,
    mirrored: tuple[bool, bool],
    *,
    largest: float = 1.0,
    first: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Random crops of a square frame, and whether they are mirrored.

    smallest, largest: area, as a share of the frame's. A crop whose width or height would exceed the frame is cut to
    it. mirrored: whether it may be left-right, top-bottom. first: of the six random numbers of each sample that are
    used; several views of a sample use others.
    Returns (m, 4) int64 left, top, width, height in pixels, and (m, 2) bool: left-right, top-bottom.
    """
    area, aspect, x, y, *mirror = uniforms(samples, seed, first, _FOR_THE_VIEW).T
    area = smallest + (largest - smallest) * area
    aspect = np.exp((2 * aspect - 1) * _ASPECT)
    sides = np.sqrt(np.stack([area * aspect, area / aspect], 1)) * side
    width, height = np.clip(np.rint(sides).astype(np.int64), 1, side).T
    left, top = (x * (side - width + 1)).astype(np.int64), (y * (side - height + 1)).astype(np.int64)
    return np.stack([left, top, width, height], 1), (np.stack(mirror, 1) < 0.5) & np.array(mirrored)


def ranks(samples: NDArray[np.int64], seed: int, patches: int, *, first: int = _FOR_THE_VIEW) -> NDArray[np.int16]:
    """(m, patches): a random order of each sample's patches. Those of the lowest ranks are seen, the others hidden.

    first: of the random numbers of each sample that are used.
    """
    return uniforms(samples, seed, first, patches).argsort(axis=1).argsort(axis=1).astype(np.int16)


def generator(sample: int, seed: int) -> np.random.Generator:
    """What a segmentation draws the crop and the mirroring of a sample from."""
    return np.random.default_rng([seed, 1, sample])


def crop_box(draw: np.random.Generator, shape: tuple[int, int], smallest: float) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of a crop of `smallest` to all of the area, its aspect from 3:4 to 4:3."""
    height, width = shape
    widest = math.log(4 / 3)  # not numpy's, which may round otherwise: crops are as they always were
    area, aspect = draw.uniform(smallest, 1), math.exp(draw.uniform(-widest, widest))
    wide, high = min(1.0, math.sqrt(area * aspect)) * width, min(1.0, math.sqrt(area / aspect)) * height
    left, top = draw.uniform(0, width - wide), draw.uniform(0, height - high)
    return left, top, left + wide, top + high
