"""The scope guide's box: a rectangle of one green, or of green and blue, or black where it was painted over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meddel_hf.data.regions import DARKEST, NOISE, Mask, Planes, closed, distance, largest

_LEAST_AREA = 0.01  # share of the frame
_LEAST_SIDE = 0.08  # share of the frame's shorter side
_ALIKE = 24  # levels about one colour, with the lines that are drawn in the box
_GAP = 4  # half the width of lines between green and blue, and of text across them
_FRAME = 5  # pixels that the dark frame around a box may be wide


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels; bottom and right are the first ones beyond it."""

    top: int
    bottom: int
    left: int
    right: int


def green_box(planes: Planes) -> Box | None:
    """The rectangle of one green, with or without one of one blue beside it, or None."""
    red, green, blue = planes
    area = _like_its_median(planes, (green - red > 60) & (green - blue > 10) & (green > 100))
    if area is None:
        return None
    beside = _like_its_median(planes, (blue - red > 60) & (blue - green > 30) & (blue > 120))
    area = largest(closed(area if beside is None else area | beside, _GAP))
    rows, columns = (_span(area.sum(axis=axis)) for axis in (1, 0))
    inside = area[rows, columns]
    if inside.mean() < 0.8 or min(inside.shape) < _LEAST_SIDE * min(area.shape):
        return None
    return _with_its_frame(np.asarray(planes.max(axis=0) < DARKEST), rows, columns)


def black_boxes(planes: Planes) -> list[Box]:
    """Black rectangles in corners of the frame, where a scope guide was painted over."""
    black = np.asarray(planes.max(axis=0) <= NOISE)
    height, width = black.shape
    boxes = []
    for upwards, backwards in ((False, False), (False, True), (True, False), (True, True)):
        rows, columns = _rectangle_at_the_origin(black[:: -1 if upwards else 1, :: -1 if backwards else 1])
        if rows:
            top, left = height - rows if upwards else 0, width - columns if backwards else 0
            boxes.append(Box(top, top + rows, left, left + columns))
    return boxes


def _like_its_median(planes: Planes, where: Mask) -> Mask | None:
    """Pixels of the median colour of those of a mask; None where these are too few."""
    if where.mean() < _LEAST_AREA:
        return None
    return np.asarray(distance(planes, np.median(planes[:, where], axis=1)) < _ALIKE)


def _span(counts: np.ndarray) -> slice:
    """From the first to the last place that holds at least half of what the fullest holds."""
    places = np.flatnonzero(counts >= 0.5 * counts.max())
    return slice(int(places[0]), int(places[-1]) + 1)


def _with_its_frame(dark: Mask, rows: slice, columns: slice) -> Box:
    """The rectangle with a pixel for its blurred edge, and the dark line around it where it has one."""
    height, width = dark.shape
    top, bottom = max(rows.start - 1, 0), min(rows.stop + 1, height)
    left, right = max(columns.start - 1, 0), min(columns.stop + 1, width)
    for _ in range(_FRAME):
        top -= bool(top > 0 and dark[top - 1, columns].mean() > 0.7)
        bottom += bool(bottom < height and dark[bottom, columns].mean() > 0.7)
        left -= bool(left > 0 and dark[rows, left - 1].mean() > 0.7)
        right += bool(right < width and dark[rows, right].mean() > 0.7)
    return Box(top, bottom, left, right)


def _rectangle_at_the_origin(mask: Mask) -> tuple[int, int]:
    """Rows and columns of the rectangle that a mask fills in the corner at its origin, with straight edges; else zeros.

    A field's dark corner is a triangle, or round: nothing there has two straight edges with an end.
    """
    height, width = mask.shape
    runs = np.minimum.accumulate(np.where(mask.all(axis=1), width, mask.argmin(axis=1)))
    rows = int((runs * np.arange(1, height + 1)).argmax()) + 1
    columns = int(runs[rows - 1])
    if not (0.15 * height < rows < 0.6 * height and 0.15 * width < columns < 0.6 * width):
        return 0, 0
    below, beside = mask[rows + 1 : rows + 3, :columns], mask[:rows, columns + 1 : columns + 3]  # past a blurred line
    return (rows + 1, columns + 1) if below.mean() < 0.25 and beside.mean() < 0.25 else (0, 0)
