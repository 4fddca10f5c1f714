"""A sample that is spread out: places at even steps, the first and the last among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(n: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the places 0 to n - 1, ascending, without repeats; all of them where there are no more."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
