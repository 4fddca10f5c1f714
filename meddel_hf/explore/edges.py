"""The stored near-duplicate graph in keep order, as the page's worker walks it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.graph import NearDuplicateGraph
from meddel_hf.neighbors.float64 import rounded


@dataclass(frozen=True, eq=False)
class Edges:
    """Pairs by the rank of the earlier row; a rank is a place in keep order, over all groups one after another.

    order:  (m,) int32, the pool's row of each rank.
    starts: (m + 1,) uint32, where the pairs of each rank begin.
    later:  (e,) uint32, rank of the other row. cosine: (e,) float32, above floor.
    floor:  lowest eta that can be answered.
    groups: how many; each keeps a row at least.
    """

    order: NDArray[np.int32]
    starts: NDArray[np.uint32]
    later: NDArray[np.uint32]
    cosine: NDArray[np.float32]
    floor: float
    groups: int

    @classmethod
    def of(cls, graph: NearDuplicateGraph, rows: int, most: int) -> Edges:
        """rows: of the pool. most: pairs that a page can carry; where there are more, the floor is higher."""
        order = np.concatenate(graph.groups).astype(np.int32)
        rank = np.full(rows, -1, np.int32)  # in 32 bits, as all below: of 16 million pairs each array is 64 MB
        rank[order] = np.arange(len(order), dtype=np.int32)
        pairs, floor = graph.pairs, graph.floor
        a, b = rank[pairs.first], rank[pairs.second]
        held = (a >= 0) & (b >= 0)
        if held.sum() > most:
            floor = float(np.partition(pairs.cosine[held], -most - 1)[-most - 1])
            held &= pairs.cosine > rounded(floor)
        a, b = a[held], b[held]
        earlier = np.minimum(a, b)
        by_earlier = np.argsort(earlier, kind="stable").astype(np.uint32)
        starts = np.zeros(len(order) + 1, np.uint32)
        starts[1:] = np.cumsum(np.bincount(earlier, minlength=len(order)))
        del earlier
        later = np.maximum(a, b, out=a)[by_earlier].astype(np.uint32)
        del a, b
        return cls(order, starts, later, pairs.cosine[held][by_earlier], floor, len(graph.groups))
