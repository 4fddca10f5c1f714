"""The graph as the page carries it, against the pairs that it was made of."""

from __future__ import annotations

import numpy as np
import oracle

from meddel_hf.dedup.graph import NearDuplicateGraph
from meddel_hf.explore.edges import Edges
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.pairs import pairs_within


def graph(n: int = 60) -> tuple[NearDuplicateGraph, np.ndarray]:
    x = oracle.clumps(n, 8, seed=1, spread=0.3).astype(np.float32)
    order = np.random.default_rng(0).permutation(n - 4)  # four rows are in no group
    groups = [order[:20], order[20:]]
    pairs = pairs_within(Vectors.prepare(x), groups, 0.6)
    assert pairs is not None
    assert len(pairs) > 100
    return NearDuplicateGraph(pairs, groups), oracle.cosines(x)


def walked(edges: Edges) -> set[tuple[int, int]]:
    return {
        (int(edges.order[rank]), int(edges.order[edges.later[at]]))
        for rank in range(len(edges.order))
        for at in range(edges.starts[rank], edges.starts[rank + 1])
    }


def test_every_pair_stands_once_with_the_earlier_row():
    whole, cosine = graph()
    edges = Edges.of(whole, 60, most=10_000)
    expected = {
        (int(a), int(b))
        for group in whole.groups
        for place, a in enumerate(group)
        for b in group[place + 1 :]
        if cosine[a, b] > 0.6
    }
    assert walked(edges) == expected
    assert len(edges.later) == len(expected)
    assert edges.floor == 0.6
    assert edges.groups == 2
    rank = np.repeat(np.arange(len(edges.order)), np.diff(edges.starts))
    assert np.array_equal(edges.cosine, cosine[edges.order[rank], edges.order[edges.later]].astype(np.float32))


def test_where_there_are_more_pairs_than_a_page_carries_the_nearest_stay_and_the_floor_rises():
    whole, cosine = graph()
    edges = Edges.of(whole, 60, most=50)
    assert 0.6 < edges.floor < 1
    assert 0 < len(edges.later) <= 50
    everything = walked(Edges.of(whole, 60, most=10_000))
    assert walked(edges) == {(a, b) for a, b in everything if cosine[a, b] > edges.floor}
