"""How many rows each part of a pool may keep, when each has a wish and the total is fixed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def quotas(wish: NDArray[np.float64], most: Counts, total: int) -> Counts:
    """Whole numbers closest to what each part wishes for: (k,) int64, minimal sum of (quota - wish)^2.

    wish:  (k,) rows, fractions allowed. most: (k,) rows that each part has, at least 1.
    total: what the quotas add up to, from 0 to the sum of `most`.

    Each part keeps at least one row where `total` allows that for all of them. Without a bound in the way these are the
    largest remainders (Hamilton). Equals go to the earlier part.
    """
    least = np.full(len(most), int(total >= len(most)), np.int64)
    # What one more row costs, from q rows to q + 1, is 2 (q - wish) + 1: it grows with q, so that the cheapest rows of
    # all are the optimum. Rounding keeps float noise from choosing between equals.
    part = np.repeat(np.arange(len(most)), most - least)
    starts = np.cumsum(most - least) - (most - least)
    rows = np.arange(len(part)) - starts[part] + least[part]
    order = np.argsort(np.round(rows - wish[part], 9), kind="stable")
    return least + np.bincount(part[order[: total - int(least.sum())]], minlength=len(most))


def even_shares(most: Counts, total: int, order: Counts) -> Counts:
    """Share `total` as evenly as can be: (k,) int64 that add up to it.

    most:  (k,) rows that each part has, 0 allowed. total: from 0 to their sum.
    order: (k,) a permutation: who comes first where a remainder is given out.

    A part with fewer rows than its share gives all of them, and the others share what it lacks: as water fills vessels
    of different heights. So no part that has rows left gets more than one fewer than any other.
    """
    level, left = 0, total
    heights = np.unique(np.concatenate([most, [0]]))
    for low, high in pairwise(heights):
        open_parts = int((most > low).sum())
        rise = min(int(high - low), left // open_parts)
        level, left = int(low) + rise, left - rise * open_parts
        if rise < high - low:
            break
    shares = np.minimum(most, level)
    taking = order[most[order] > level][:left]
    shares[taking] += 1
    return shares
