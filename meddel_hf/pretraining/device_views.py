"""Views cut, scaled and mirrored on the device that trains, many at once: the very bytes of `views.cropped`.

torch scales bytes on a processor in whole numbers (aten/src/ATen/native/cpu/UpSampleKernel.cpp): weights are rounded
to 16 bits, at a precision that goes by the largest of an axis; sums are rounded back to bytes; width goes before
height. Here both are matrix products of such numbers, which are exact in whatever order a device sums: below 2^24 in
float32, beyond in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meddel_hf.neighbors.device.rows import full_products
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.views import FRAMES, sizes

_TOO_LARGE = 2**15  # for a weight: 16 bits with its sign
_MOST_BITS = 22
_FLOAT32_BITS = 16  # up to so many, 255 times the sum of an axis' weights is below 2^24
_NUMBERS = 2**25  # of frames or views that are held at once in float32


def viewed(batch: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """What `views_of` gives uncut -> what it gives otherwise, on the device that "frames" are on."""
    batch = dict(batch)
    frames, boxes, mirrored = (batch.pop(name) for name in (FRAMES, "boxes", "mirrored"))
    if not recipe.is_joint:
        return {"pixels": cut(frames, boxes, mirrored, recipe.image_size)[:, 0], **batch}
    for name, views, size in sizes(recipe):
        batch[name] = cut(frames, boxes[:, views.start : views.stop], mirrored[:, views.start : views.stop], size)
    return batch


def cut(frames: Tensor, boxes: Tensor, mirrored: Tensor, size: int) -> Tensor:
    """(m, side, side, 3) uint8 -> (m, V, 3, size, size) uint8, V views of each frame.

    boxes: (m, V, 4) int64, left, top, width, height in pixels. mirrored: (m, V, 2) bool, left-right, top-bottom.
    """
    side, views = frames.shape[1], boxes.shape[1]
    at_once = max(1, _NUMBERS // (3 * side * max(side, views * size)))
    axis = _axis(frames.device, side, size)
    parts = zip(frames.split(at_once), boxes.split(at_once), mirrored.split(at_once), strict=True)
    with full_products(), torch.autocast(frames.device.type, enabled=False):
        return torch.cat([_cut(*part, axis, size) for part in parts])


def _cut(frames: Tensor, boxes: Tensor, mirrored: Tensor, axis: _Axis, size: int) -> Tensor:
    m, views, side = len(frames), boxes.shape[1], frames.shape[1]
    left, top, width, height = boxes.flatten(0, 1).unbind(1)
    across = axis.matrices(left, width, mirrored[..., 0].flatten()).view(m, views * size, side)
    down = axis.matrices(top, height, mirrored[..., 1].flatten())
    rows = frames.permute(0, 1, 3, 2).to(across.dtype, memory_format=torch.contiguous_format)
    narrow = _rounded(rows.view(m, side * 3, side), across.transpose(1, 2)).view(m, side, 3, views, size)
    narrow = narrow.permute(0, 3, 1, 2, 4).reshape(m * views, side, 3 * size)
    pixels = _rounded(down, narrow).view(m, views, size, 3, size)
    return pixels.permute(0, 1, 3, 2, 4).to(torch.uint8, memory_format=torch.contiguous_format)


def _rounded(left: Tensor, right: Tensor) -> Tensor:
    """Products of bytes with weights, as whole numbers; weights sum to 1 so closely that none is above 255."""
    half = torch.full((1, 1, 1), 0.5, dtype=left.dtype, device=left.device)
    return torch.baddbmm(half, left, right).floor_()


@dataclass(frozen=True, eq=False)
class _Axis:
    """`Scaling` on a device.

    first: (side, size) int64. weights: (side, size, taps), as shares of 1; float32 where that makes exact products.
    """

    first: Tensor
    weights: Tensor

    def matrices(self, start: Tensor, length: Tensor, mirrored: Tensor) -> Tensor:
        """(n, size, side) that scale `length` pixels of an axis from `start` on, and mirror them; n of each."""
        side, size, taps = self.weights.shape
        place = torch.arange(size, device=start.device)
        place = torch.where(mirrored[:, None], size - 1 - place, place)
        row = (length - 1)[:, None]
        where = (start[:, None] + self.first[row, place])[..., None] + torch.arange(taps, device=start.device)
        empty = self.weights.new_zeros(len(start), size, side + taps)  # what reaches beyond the frame has weight 0
        return empty.scatter_(2, where, self.weights[row, place])[..., :side]


@lru_cache(maxsize=8)
def _axis(device: torch.device, side: int, size: int) -> _Axis:
    table = scaling(side, size)
    kind = torch.float32 if table.bits.max() <= _FLOAT32_BITS else torch.float64
    shares = torch.from_numpy(np.ldexp(table.weights.astype(np.float64), -table.bits[:, None, None]))
    return _Axis(torch.from_numpy(table.first).to(device), shares.to(device, kind))


@dataclass(frozen=True, eq=False)
class Scaling:
    """How torch scales an axis of 1, 2, ... `side` pixels to `size`; row n - 1 of each array is of n pixels.

    first:   (side, size) int64, the first pixel that a scaled one is made of.
    weights: (side, size, taps) int16, of that pixel and of those behind it; 0 beyond the axis.
    bits:    (side,) int64: the weights of a pixel sum to 2^bits, but for rounding.
    """

    first: NDArray[np.int64]
    weights: NDArray[np.int16]
    bits: NDArray[np.int64]


def scaling(side: int, size: int) -> Scaling:
    """Bilinear with antialiasing: operation by operation what torch computes in float64."""
    pixels = np.arange(1, side + 1)[:, None]
    scale = pixels / size
    support = np.maximum(scale, 1.0)
    centre = scale * (np.arange(size) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    most = np.ceil(support).astype(np.int64) * 2 + 1
    count = np.clip(np.minimum((centre + support + 0.5).astype(np.int64), pixels) - first, 0, most)
    taps = np.arange(most.max())
    away = np.abs((taps + first[..., None] - centre[..., None] + 0.5) * (1 / support)[..., None])
    weights = np.where((taps < count[..., None]) & (away < 1), 1 - away, 0.0)
    total = np.zeros_like(centre)
    for tap in taps:  # one after the other, as there: in another order they would round otherwise
        total += weights[..., tap]
    weights /= total[..., None]
    largest = weights.max(axis=(1, 2))[:, None]
    too_large = np.floor(0.5 + largest * 2.0 ** (np.arange(_MOST_BITS) + 1)) >= _TOO_LARGE
    bits = np.where(too_large.any(axis=1), too_large.argmax(axis=1), _MOST_BITS)
    whole = np.floor(0.5 + np.ldexp(weights, bits[:, None, None]))
    return Scaling(first, whole.astype(np.int16), bits)
