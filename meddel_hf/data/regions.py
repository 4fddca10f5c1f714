"""Regions of a small picture: what is of one colour, what hangs together, what is thin."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]  # (h, w): True inside
Planes = npt.NDArray[np.int16]  # (3, h, w), or (3, n) of some pixels: red, green and blue, 0 to 255

DARKEST = 48  # levels of 255: a surround is below
NOISE = 9  # levels about one colour that JPEG and resizing leave


def distance(planes: Planes, colour: np.ndarray) -> npt.NDArray[np.int16]:
    """Largest difference of a channel from a colour, (3,): (h, w), or (n,)."""
    red, green, blue = (np.abs(plane - np.int16(level)) for plane, level in zip(planes, colour, strict=True))
    return np.asarray(np.maximum(np.maximum(red, green), blue))


def excess(planes: Planes, colour: np.ndarray) -> npt.NDArray[np.int16]:
    """The most by which a channel is brighter than a colour, (3,); below zero where all are darker."""
    red, green, blue = (plane - np.int16(level) for plane, level in zip(planes, colour, strict=True))
    return np.asarray(np.maximum(np.maximum(red, green), blue))


def opened(mask: Mask, half: int) -> Mask:
    """Without what is thinner than 2 half + 1 pixels; the frame's border thins nothing."""
    return _spread(~_spread(~mask, half), half)


def closed(mask: Mask, half: int) -> Mask:
    """With gaps that are no wider than 2 half pixels filled."""
    return ~_spread(~_spread(mask, half), half)


def _spread(mask: Mask, half: int) -> Mask:
    """Every pixel of the square of side 2 half + 1 around one of the mask."""
    for _ in range(2):
        wider = mask.copy()
        for shift in range(1, half + 1):
            wider[shift:] |= mask[:-shift]
            wider[:-shift] |= mask[shift:]
        mask = wider.T
    return mask


def reached(mask: Mask, start: Mask) -> Mask:
    """The parts of a mask that hold a pixel of `start`."""
    labels = _labelled(mask)
    touched = np.zeros(labels.max() + 1, bool)
    touched[labels[start]] = True
    touched[0] = False
    return np.asarray(touched[labels])


def largest(mask: Mask) -> Mask:
    """The largest part of a mask that is not empty."""
    labels = _labelled(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _labelled(mask: Mask) -> npt.NDArray[np.int32]:
    """0 outside the mask, and a number from 1 on for each part that hangs together by its edges."""
    from scipy import ndimage

    return np.asarray(ndimage.label(mask)[0])
