"""Thumbnails, a second witness: grey, 32 x 32, made of the pixels that the encoder saw, and compared over small shifts.

An encoder that is sure of a near-duplicate may be wrong; pixels know nothing of what it learned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 32  # pixels
_SHIFT = 2  # pixels, in each direction
_BLOCK = 4096  # pairs at a time: 50 MB


def thumbnails(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(B, H, W, 3) uint8 to (B, 32, 32) uint8: the mean over colours and over each cell of a grid."""
    import torch  # here: whoever compares thumbnails, or reads a store, needs none of it

    grey = torch.from_numpy(np.ascontiguousarray(pixels)).float().mean(dim=3)
    cells = torch.nn.functional.adaptive_avg_pool2d(grey[:, None], SIDE)[:, 0]
    answer: NDArray[np.uint8] = cells.round().to(torch.uint8).numpy()
    return answer


def likeness(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Greatest correlation of two thumbnails over shifts of at most two pixels, (m,) float32 in [-1, 1].

    left, right: (m, 32, 32). Only what both show is compared. Two flat pictures have likeness 1, one beside another 0.
    """
    best = np.full(len(left), -1, np.float32)
    for start in range(0, len(left), _BLOCK):
        here = slice(start, start + _BLOCK)
        a, b = left[here].astype(np.float32), right[here].astype(np.float32)
        for down in range(-_SHIFT, _SHIFT + 1):
            for along in range(-_SHIFT, _SHIFT + 1):
                x = a[:, _window(down), :][:, :, _window(along)].reshape(len(a), -1)
                y = b[:, _window(-down), :][:, :, _window(-along)].reshape(len(b), -1)
                best[here] = np.maximum(best[here], _correlation(x, y))
    return best


def _window(shift: int) -> slice:
    return slice(max(0, shift), SIDE + min(0, shift))


def _correlation(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    flat_x, flat_y = ((part * part).sum(axis=1) < 1e-3 for part in (x, y))
    length = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    answer: NDArray[np.float32] = ((x * y).sum(axis=1) / np.where(flat_x | flat_y, 1, length)).clip(-1, 1)
    answer[flat_x | flat_y] = 0
    answer[flat_x & flat_y] = 1
    return answer
