"""The dark surround of an endoscopy frame, and the convex field inside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meddel_hf.data.regions import DARKEST, NOISE, Mask, Planes, distance, excess, largest, opened, reached
from meddel_hf.data.scope_guide import Box

_THIN = 3  # half the width of strokes of text, and of bridges to small pictures
_LEAST_FIELD = 0.15  # share of the frame
_CORNER = 4  # pixels of a side of the squares in the frame's corners that tell the surround's colour
_DARK = 0.4  # share of those squares: a field may reach two of the corners
_OF_ONE_COLOUR = 0.7  # share of their dark pixels: the rest is text
_BRIGHT = 0.6  # share of a field: the rest is lumen so dark that it looks like the surround
_CONSTANT = 0.7  # share of what lies outside: the rest is text and small pictures


@dataclass(frozen=True)
class Field:
    """A convex region of a grid: the numbers of its rows, and the first and last column of each, as floats."""

    rows: np.ndarray
    left: np.ndarray
    right: np.ndarray


def field_of(planes: Planes, box: Box | None, *, square: bool) -> Field | None:
    """The field inside a surround, or None where there is no surround.

    box: the scope guide's, which may lie over either. square: the frame is, so that dark corners alone may be a
    capsule's, and are no surround.
    """
    height, width = planes.shape[1:]
    boxed = np.zeros((height, width), bool)
    if box is not None:
        boxed[box.top : box.bottom, box.left : box.right] = True
    ring = ~boxed
    ring[2:-2, 2:-2] = False
    corners = ~boxed
    corners[_CORNER:-_CORNER], corners[:, _CORNER:-_CORNER] = False, False
    colour = _surround_colour(planes[:, corners])
    if colour is None:
        return None
    surround = reached((excess(planes, colour) <= NOISE) | boxed, ring | boxed)
    bright = opened(~surround, _THIN)
    if bright.mean() < _LEAST_FIELD:
        return None
    bright = _without_small_pictures(largest(bright))
    field = _convex(bright | _upside_down(bright))
    inside = _drawn(field, height, width)
    if inside.all() or (square and _dark_in_corners_only(inside)):
        return None
    if (bright | boxed)[inside].mean() < _BRIGHT or surround[~inside].mean() < _CONSTANT:
        return None
    return _inset(field, height, width)


def _surround_colour(corners: Planes) -> np.ndarray | None:
    """The colour, (3,), that the dark pixels of the frame's corners have; None where few are dark, or they differ."""
    dark = corners[:, corners.max(axis=0) < DARKEST]
    if not dark.size or dark.shape[1] < _DARK * corners.shape[1]:
        return None
    colour = np.median(dark, axis=1)
    return colour if (distance(dark, colour) <= NOISE).mean() > _OF_ONE_COLOUR else None


def _without_small_pictures(field: Mask) -> Mask:
    """The field without low parts at its left or right, where a small picture touches it.

    A circle's first column of 0.4 of its height stands 4 % of its width inside: less than the 10 % that count.
    """
    counts = field.sum(axis=0)
    whole, core = np.flatnonzero(counts), np.flatnonzero(counts > 0.4 * counts.max())
    field = field.copy()
    if core[0] - whole[0] > 0.1 * len(core):
        field[:, : core[0]] = False
    if whole[-1] - core[-1] > 0.1 * len(core):
        field[:, core[-1] + 1 :] = False
    return field


def _upside_down(field: Mask) -> Mask:
    """Mirrored about its own middle where that is near the frame's, else about the frame's: fields are symmetric.

    So lumen that is as dark as the surround and touches it below is still inside, where mucosa above is not dark.
    """
    rows = np.flatnonzero(field.any(axis=1))
    shift = int(rows[0] + rows[-1] + 1 - len(field))
    return np.roll(field[::-1], shift, axis=0) if abs(shift) <= 0.06 * len(field) else field[::-1]


def _convex(mask: Mask) -> Field:
    """The convex hull of a mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask[rows].argmax(axis=1)
    right = mask.shape[1] - 1 - mask[rows][:, ::-1].argmax(axis=1)
    all_rows = np.arange(rows[0], rows[-1] + 1)
    return Field(all_rows, -_least_concave(rows, -left, all_rows), _least_concave(rows, right, all_rows))


def _least_concave(at: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The least concave curve that is nowhere below the values, read off where it is asked for."""
    hull: list[tuple[int, int]] = []
    for x, y in zip(at.tolist(), values.tolist(), strict=True):
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (y1 - y0) * (x - x0) > (y - y0) * (x1 - x0):
                break
            hull.pop()
        hull.append((x, y))
    corners = np.array(hull, dtype=float)
    return np.asarray(np.interp(asked, corners[:, 0], corners[:, 1]))


def _drawn(field: Field, height: int, width: int) -> Mask:
    mask = np.zeros((height, width), bool)
    columns = np.arange(width)
    mask[field.rows] = (columns >= field.left[:, None]) & (columns <= field.right[:, None])
    return mask


def _dark_in_corners_only(inside: Mask) -> bool:
    """Does the field lie in the middle of the frame and reach all its sides?"""
    for axis in (0, 1):
        held = np.flatnonzero(inside.any(axis=axis))
        before, after = int(held[0]), inside.shape[1 - axis] - 1 - int(held[-1])
        if before + after > 0.1 * inside.shape[1 - axis] or abs(before - after) > 3:
            return False
    return True


def _inset(field: Field, height: int, width: int) -> Field:
    """A pixel less on sides that do not end at the frame's border: there the surround shines into the field."""
    left = field.left + (field.left > 1)
    right = field.right - (field.right < width - 2)
    rows = slice(int(field.rows[0] > 1), len(field.rows) - int(field.rows[-1] < height - 2))
    return Field(field.rows[rows], left[rows], right[rows])
