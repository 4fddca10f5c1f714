"""From a search to a selection: once, for each eta of a sweep, or again and again among the survivors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from meddel_hf.dedup.decision import Decision
from meddel_hf.dedup.density import CosineSample
from meddel_hf.dedup.graph import NearDuplicateGraph
from meddel_hf.dedup.larger_than_memory import grouped
from meddel_hf.dedup.search import Grouping, Search, Settings, meets_often
from meddel_hf.dedup.shared_engine import engine_of
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.neighbors.stored_pairs import Pairs
from meddel_hf.runtime.sizes import written
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import pool_table, with_digests
from meddel_hf.selectors.protocol import InParts, PoolRows, Readable

_CONCENTRATED = 0.2  # share of all pairs above eta from which eta says little


@dataclass(frozen=True, eq=False)
class Thinning:
    """The work of one `select`; rows are numbered among the readable ones."""

    readable: Readable
    search: Search

    @classmethod
    def begin(cls, settings: Settings, readable: Readable, etas: Sequence[float] = ()) -> Thinning:
        """etas: what a sweep will ask for; else what the settings say."""
        vectors = readable.vectors(settings.subtract_mean, copy=meets_often(settings))
        rows = np.arange(len(vectors))
        return cls(readable, Search.among(settings, vectors, rows, len(readable.ids), etas))

    @property
    def settings(self) -> Settings:
        return self.search.settings

    def at(self, eta: float) -> Selection:
        settings = replace(self.settings, eta=eta, retention=None)
        return answered(self.readable, self.search, self.search.decide(eta, None), settings, self._graph)

    def selection(self) -> Selection:
        settings = self.settings
        if settings.max_iterations > 1:
            return self._until_nothing_goes()
        decision = self.search.decide(settings.eta, settings.retention)
        return answered(self.readable, self.search, decision, settings, self._graph)

    @property
    def _graph(self) -> NearDuplicateGraph | None:
        return graph_of(self.search, self.readable.rows)

    def _until_nothing_goes(self) -> Selection:
        """Cluster and thin the survivors until nothing more goes; duplicates are named at the end, over the pool."""
        search, settings = self.search, self.settings
        outlier, labels, distances = search.outlier.copy(), search.cluster, search.distance
        kept = search.decide(settings.eta, None).kept
        for _ in range(1, settings.max_iterations):
            survivors = np.flatnonzero(kept)
            search = Search.among(settings, search.vectors, survivors, search.pool)
            if labels is not None and distances is not None and search.cluster is not None:
                assert search.distance is not None
                labels[survivors], distances[survivors] = search.cluster[survivors], search.distance[survivors]
            outlier |= search.outlier
            kept = search.decide(settings.eta, None).kept
            if kept.sum() == len(survivors):
                break
        last = replace(self.search, outlier=outlier, cluster=labels, distance=distances)
        where, similarity = np.full(len(kept), -1, np.int64), np.full(len(kept), -2, np.float32)
        engine_of(last.vectors, [last.keep_order()]).name_kept(kept, ~kept & ~outlier, where, similarity)
        assert settings.eta is not None
        return answered(self.readable, last, Decision(kept, where, similarity, settings.eta), settings)


def thinned_in_parts(settings: Settings, rows: InParts, etas: Sequence[float] | None = None) -> list[Selection]:
    """What `Thinning` answers to the settings, or to each eta of a sweep, of a pool that does not fit into memory.

    Raises InvalidArgument where the memory or the disk are too little.
    """
    rows.check_any()
    if settings.engine == "pairs":
        raise InvalidArgument(
            f"engine='pairs' stores the graph of a pool that does not fit into {written(rows.room.memory)}: leave "
            "engine at 'auto', or give more memory"
        )
    if settings.max_iterations > 1:
        raise InvalidArgument(
            f"max_iterations={settings.max_iterations} compares survivors of the whole pool, which does not fit into "
            f"{written(rows.room.memory)}: leave it at 1, or give more memory"
        )
    with grouped(settings, rows.source, len(rows.ids), rows.room, rows.name) as grouping:
        asked = [settings] if etas is None else [replace(settings, eta=eta, retention=None) for eta in etas]
        decisions = [grouping.decide(each.eta, each.retention) for each in asked]
    return [answered(rows, grouping, made, each) for made, each in zip(decisions, asked, strict=True)]


def answered(
    readable: PoolRows,
    search: Grouping,
    decision: Decision,
    settings: Settings,
    graph: NearDuplicateGraph | None = None,
) -> Selection:
    """A decision as a selection."""
    table = pool_table(readable.ids, readable.rows, decision, search.outlier, search.cluster, search.distance)
    table = with_digests(table, readable.digests)
    recorded: dict[str, Any] = {"selector": "meddel", **asdict(settings)}
    del recorded["engine"]  # it does not change the answer
    notes = _notes(search.sample, settings.eta)
    return Selection(table, recorded, readable.origin, decision.eta, graph, search.sample, notes)


def _notes(sample: CosineSample, eta: float | None) -> tuple[str, ...]:
    if eta is None or sample.share_above(eta) < _CONCENTRATED:
        return ()
    return (
        f"{sample.share_above(eta):.0%} of the compared pairs are above eta {eta}: these "
        "embeddings are so concentrated that an eta says little. Ask for a retention instead, or spread them out "
        "with subtract_mean or another pooling.",
    )


def graph_of(search: Grouping, rows: Rows) -> NearDuplicateGraph | None:
    """The search's pairs as a graph to be stored, where it has some. rows: numbers in the pool of the search's rows."""
    if search.pairs is None or search.settings.rule != "greedy":
        return None
    pairs = search.pairs
    moved = Pairs(rows[pairs.first], rows[pairs.second], pairs.cosine, pairs.floor)
    return NearDuplicateGraph(moved, [rows[group] for group in search.groups])
