"""Views of frames: which frame a sample shows, its crop, its mirroring and its mask, each a function of its number.

Sample s of a run is the same whatever process or worker makes it, whether the run was interrupted, and whatever stands
before it: random numbers are not drawn one after the other but computed from (seed, s).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import Dataset

from meddel_hf.errors import MedDELError
from meddel_hf.pretraining.frame_cache import Frames
from meddel_hf.pretraining.recipe import Flips, Recipe

_ASPECT = np.log(4 / 3)  # crops are from 3:4 to 4:3
_NUMBERS = 1 << 16  # random numbers that a sample may use; 6 for its view, the others for its patches
_FOR_THE_VIEW = 6


class Views(Dataset):
    """The samples of a run, in the order in which they are seen.

    frames: where pixels come from. rows: of the pool, those that are trained on; each epoch shows every one once.
    """

    def __init__(self, frames: Frames, rows: Sequence[int], recipe: Recipe, seed: int) -> None:
        self.frames, self.rows = frames, np.asarray(rows, np.int64)
        self.recipe, self.seed = recipe, seed

    def __len__(self) -> int:
        return self.recipe.steps * self.recipe.batch_size

    def __getitem__(self, sample: int) -> dict[str, Any]:
        return self.__getitems__([sample])

    def __getitems__(self, samples: Sequence[int]) -> dict[str, Any]:
        """Of m samples: "pixels" (m, 3, H, W) uint8 and "ranks" (m, patches) int16, as numpy arrays.

        Or {"error": MedDELError}: raised in a worker process, it would reach the user as a page of traceback.
        """
        numbers = np.asarray(samples, np.int64)
        try:
            frames = self.frames.read(self.rows[order(numbers, len(self.rows), self.seed)].tolist())
        except MedDELError as error:
            return {"error": error}
        boxes, mirrored = crops(numbers, self.seed, self.frames.side, self.recipe.crop, self.recipe.flips)
        pixels = cropped(frames, boxes, mirrored, self.recipe.image_size)
        return {"pixels": pixels.numpy(), "ranks": ranks(numbers, self.seed, self.recipe.patches)}


def as_one_batch(batch: Any) -> Any:
    """Collate: `Views` hands out whole batches."""
    return batch


def order(samples: NDArray[np.int64], rows: int, seed: int) -> NDArray[np.int64]:
    """Which of `rows` frames each sample shows, (m,): every epoch is a permutation of its own."""
    epochs, places = np.divmod(samples, rows)
    shown = np.empty(len(samples), np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        shown[here] = _permutation(rows, seed, int(epoch))[places[here]]
    return shown


@lru_cache(maxsize=4)
def _permutation(rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch]))).permutation(rows)


def uniforms(samples: NDArray[np.int64], seed: int, first: int, count: int) -> NDArray[np.float64]:
    """(m, count) random numbers in [0, 1), numbers first ... first + count - 1 of each sample.

    SplitMix64 (Steele, Lea and Flood, 2014): a mixed counter, so any sample's numbers are had without the ones before.
    """
    numbers = np.arange(first, first + count).astype(np.uint64)
    counters = samples.astype(np.uint64)[:, None] * np.uint64(_NUMBERS) + numbers
    bits: Any = _mixed(counters + _mixed(np.array([seed]).astype(np.uint64))) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def _mixed(counters: Any) -> Any:
    """uint64 -> uint64, the same shape."""
    z = (counters + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # wraps around, as it should
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def crops(
    samples: NDArray[np.int64], seed: int, side: int, smallest: float, flips: Flips
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Random crops of a square frame, and whether they are mirrored.

    smallest: least area, as a share of the frame's. A crop whose width or height would exceed the frame is cut to it.
    Returns (m, 4) int64 left, top, width, height in pixels, and (m, 2) bool: left-right, top-bottom.
    """
    area, aspect, x, y, *mirror = uniforms(samples, seed, 0, _FOR_THE_VIEW).T
    area = smallest + (1 - smallest) * area
    aspect = np.exp((2 * aspect - 1) * _ASPECT)
    sides = np.sqrt(np.stack([area * aspect, area / aspect], 1)) * side
    width, height = np.clip(np.rint(sides).astype(np.int64), 1, side).T
    left, top = (x * (side - width + 1)).astype(np.int64), (y * (side - height + 1)).astype(np.int64)
    allowed = {"none": (False, False), "horizontal": (True, False), "both": (True, True)}[flips]
    mirrored = (np.stack(mirror, 1) < 0.5) & np.array(allowed)
    return np.stack([left, top, width, height], 1), mirrored


def cropped(
    frames: Sequence[NDArray[np.uint8]], boxes: NDArray[np.int64], mirrored: NDArray[np.bool_], size: int
) -> torch.Tensor:
    """Cut and scale: (m, 3, size, size) uint8. Bilinear with antialiasing, on bytes: torch has vector code for that."""
    views = []
    for frame, (left, top, width, height) in zip(frames, boxes.tolist(), strict=True):
        part = torch.from_numpy(frame)[top : top + height, left : left + width].permute(2, 0, 1).unsqueeze(0)
        views.append(functional.interpolate(part, (size, size), mode="bilinear", antialias=True))
    pixels = torch.cat(views).contiguous()
    for axis, chosen in ((3, mirrored[:, 0]), (2, mirrored[:, 1])):
        if chosen.any():
            where = torch.from_numpy(chosen)
            pixels[where] = pixels[where].flip(axis)
    return pixels


def ranks(samples: NDArray[np.int64], seed: int, patches: int) -> NDArray[np.int16]:
    """(m, patches): a random order of each sample's patches. Those of the lowest ranks are seen, the others hidden."""
    return uniforms(samples, seed, _FOR_THE_VIEW, patches).argsort(axis=1).argsort(axis=1).astype(np.int16)
