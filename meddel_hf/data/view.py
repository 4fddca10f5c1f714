"""The field of view: which pixels of an endoscopy frame show what the camera saw, by geometry in the frame alone.

Endoscopes show their picture inside a dark surround, and lay a scope guide's box over it or beside it. A surround is of
one colour, reaches the frame's border, and leaves a convex field, round, octagonal or with straight edges; dark lumen
lies inside that field and is no part of the surround. Text and small pictures in the surround go with it; text that
lies over the field stays. Left alone are frames without these, grey frames (X-ray, ultrasound), and square frames that
are dark in their corners only (capsules).

Measured (docs/explanation/field-of-view.md): neighbours and choices go far less by the box and by the centre; a linear
probe neither gains nor loses, but for a class of 15 frames; neighbours agree on findings a little less. So it is an
option and not the default.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image, ImageStat

from meddel_hf.data.regions import DARKEST, Mask, Planes
from meddel_hf.data.scope_guide import black_boxes, green_box
from meddel_hf.data.surround import Field, field_of

View = Literal["whole", "auto"]

_GRID = 96  # pixels of the longer side of what is looked at, at most
_TOO_SMALL = 32  # pixels of the shorter side: nothing is looked for below
_GREY = 8  # levels between the strongest and the weakest channel, on average: mucosa has more


def visible(pixels: np.ndarray, aspect: float | None = None) -> Mask:
    """Where a whole frame shows what the camera saw: (H, W) bool, all True where there is nothing to mask.

    pixels: (H, W, 3) uint8, RGB. aspect: width by height of the frame before it was squeezed to that size, if it was.
    """
    height, width = pixels.shape[:2]
    step = -(-max(height, width) // _GRID)
    small = Image.fromarray(pixels).reduce(step)
    mask = np.ones((height, width), bool)
    if min(small.size) < _TOO_SMALL:
        return mask
    planes = np.ascontiguousarray(np.moveaxis(np.asarray(small), 2, 0)).astype(np.int16)
    if _is_grey(planes):
        return mask
    green = green_box(planes)
    capsule = abs((aspect or width / height) - 1) < 0.02
    field = field_of(planes, green, square=capsule)
    if field is not None:
        mask = _enlarged(field, step, height, width)
    for box in [*black_boxes(planes), *([green] if green else [])]:
        mask[box.top * step : box.bottom * step, box.left * step : box.right * step] = False
    return mask


def fill(pixels: np.ndarray, mask: Mask) -> np.ndarray:
    """The frame, (H, W, 3) uint8, with the mean colour of what the mask shows in place of the rest."""
    if mask.all() or not mask.any():
        return pixels
    frame, shown = Image.fromarray(pixels), Image.fromarray(mask).convert("L")
    red, green, blue = (round(mean) for mean in ImageStat.Stat(frame, shown).mean)
    return np.asarray(Image.composite(frame, Image.new("RGB", frame.size, (red, green, blue)), shown))


def _is_grey(planes: Planes) -> bool:
    strongest = planes.max(axis=0)
    colour = (strongest - planes.min(axis=0))[strongest > DARKEST]
    return len(colour) == 0 or float(colour.mean()) < _GREY


def _enlarged(field: Field, step: int, height: int, width: int) -> Mask:
    """The field of a grid whose pixels are `step` pixels wide, drawn at full size."""
    rows, columns = ((np.arange(side) + 0.5) / step - 0.5 for side in (height, width))
    left, right = (np.interp(rows, field.rows, side) for side in (field.left, field.right))
    left[(rows < field.rows[0] - 0.5) | (rows > field.rows[-1] + 0.5)] = np.inf
    return np.asarray((columns >= left[:, None] - 0.5) & (columns <= right[:, None] + 0.5))
