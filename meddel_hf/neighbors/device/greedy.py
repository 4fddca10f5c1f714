"""The greedy rule, on a device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from meddel_hf.neighbors.device import products
from meddel_hf.neighbors.device.above import any_above, close_pairs
from meddel_hf.neighbors.device.rows import DeviceRows, full_products
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.neighbors.stored_pairs import greedy_by_pairs

_PAIRS_PER_ROW = 32  # pairs inside a block beyond which it is halved
_FEW_PAIRS = 2**16


def greedy_in_groups(
    vectors: DeviceRows, groups: Sequence[Rows], eta: float
) -> Generator[NDArray[np.bool_], None, None]:
    """The greedy rule inside each group, whose rows are in keep order; several small ones share a product."""
    sizes = np.array([len(group) for group in groups])

    def answer(part: slice) -> list[NDArray[np.bool_]]:
        some = groups[part]
        if len(some) > 1:
            rows, label = np.concatenate(some), np.repeat(np.arange(len(some)), sizes[part])
            pairs = close_pairs(vectors, rows, eta, max(_FEW_PAIRS, _PAIRS_PER_ROW * len(rows)), label)
            if pairs is not None:
                return np.split(greedy_by_pairs(len(rows), *pairs), np.cumsum(sizes[part])[:-1])
        return [greedy_in_group(vectors, group, eta) for group in some]

    def cost(part: slice) -> int:
        return int(sizes[part].sum())

    yield from products.of_batches(vectors, answer, products.batches(len(groups), cost, products.block(vectors) // 2))


def greedy_in_group(
    vectors: DeviceRows, order: Rows, eta: float, room: int | None = None, seen: Callable[[int], object] = int
) -> NDArray[np.bool_]:
    """The greedy rule inside a group of any size, (len(order),) bool; ends at the first row beyond `room`.

    seen: is told how many more rows are decided.
    """
    stays, step = np.zeros(len(order), bool), products.block(vectors)
    with full_products():
        for start in range(0, len(order), step):
            here, kept = order[start : start + step], order[stays]
            free = np.flatnonzero(~any_above(vectors, here, kept, eta))
            new = free[_greedy(vectors, here[free], eta)]
            if room is not None and len(kept) + len(new) > room:
                stays[start + new[: room + 1 - len(kept)]] = True
                return stays
            stays[start + new] = True
            seen(len(here))
    return stays


def _greedy(vectors: DeviceRows, rows: Rows, eta: float) -> NDArray[np.bool_]:
    m = len(rows)
    if m < 2:
        return np.ones(m, bool)
    pairs = close_pairs(vectors, rows, eta, max(_FEW_PAIRS, _PAIRS_PER_ROW * m))
    if pairs is None:  # a crowd of near-duplicates, most of which go when the first half is known
        half = m // 2
        keep = np.zeros(m, bool)
        keep[:half] = _greedy(vectors, rows[:half], eta)
        free = half + np.flatnonzero(~any_above(vectors, rows[half:], rows[:half][keep[:half]], eta))
        if len(free):
            keep[free] = _greedy(vectors, rows[free], eta)
        return keep
    return greedy_by_pairs(m, *pairs)
