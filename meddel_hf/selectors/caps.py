"""Caps: no value of a column keeps more rows than so many, such as one frame of each video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meddel_hf.neighbors.float64 import Rows
from meddel_hf.selectors.protocol import PoolRows
from meddel_hf.selectors.strata import numbered, values_of

_NONE = np.zeros(0, np.int64)


def within_caps(readable: PoolRows, left: Rows, caps: Mapping[str, int], pool: Any, kept: Rows = _NONE) -> Rows:
    """Those of the rows that an earlier step left which may be kept, ascending.

    left: (n,) places among the readable rows, ascending. kept: places of others, which are kept already and count.
    caps: column of the pool -> rows that each of its values keeps at most.

    Of a value that has more, rows evenly spaced in the pool's order may be kept, which in a video is its time: of one,
    that in the middle. Rows without a value are not bounded. Raises what `strata.values_of` raises.
    """
    for column, most in caps.items():
        values = values_of(readable, pool, column)
        here, taken = [values[place] for place in left], Counter(values[place] for place in kept)
        number, size = numbered(here)
        may = np.array([value is None for value in here], bool)
        for rows in np.split(np.argsort(number, kind="stable"), np.cumsum(size)[:-1]) if len(left) else ():
            if not may[rows[0]]:
                may[rows[spaced(len(rows), max(0, most - taken[here[rows[0]]]))]] = True
        left = left[may]
    return left


def spaced(count: int, most: int) -> NDArray[np.int64]:
    """`most` of `count` places, or all, each in the middle of an equal part: of 9 places 3 are 1, 4 and 7."""
    most = min(count, most)
    return (2 * np.arange(most) + 1) * count // max(1, 2 * most)
