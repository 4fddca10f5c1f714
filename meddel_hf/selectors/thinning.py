"""From a search to a selection: once, for each eta of a sweep, or again and again among the survivors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from meddel_hf.dedup.decision import Decision
from meddel_hf.dedup.engines import BlockEngine
from meddel_hf.dedup.graph import NearDuplicateGraph
from meddel_hf.dedup.search import Search, Settings
from meddel_hf.neighbors.cosines import Rows
from meddel_hf.neighbors.pairs import Pairs
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import pool_table, with_digests
from meddel_hf.selectors.protocol import Readable

_CONCENTRATED = 0.2  # share of all pairs above eta from which eta says little


@dataclass(frozen=True, eq=False)
class Thinning:
    """The work of one `select`; rows are numbered among the readable ones."""

    readable: Readable
    search: Search

    @classmethod
    def begin(cls, settings: Settings, readable: Readable, etas: Sequence[float] = ()) -> Thinning:
        """etas: what a sweep will ask for; else what the settings say."""
        vectors = readable.vectors(settings.subtract_mean)
        rows = np.arange(len(vectors))
        return cls(readable, Search.among(settings, vectors, rows, len(readable.ids), etas))

    @property
    def settings(self) -> Settings:
        return self.search.settings

    def at(self, eta: float) -> Selection:
        settings = replace(self.settings, eta=eta, retention=None)
        return self._selection(
            self.search, self.search.decide(eta, None), settings, graph_of(self.search, self.readable.rows)
        )

    def selection(self) -> Selection:
        settings = self.settings
        if settings.max_iterations > 1:
            return self._until_nothing_goes()
        decision = self.search.decide(settings.eta, settings.retention)
        return self._selection(self.search, decision, settings, graph_of(self.search, self.readable.rows))

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
        BlockEngine(last.vectors, [last.keep_order()]).name_kept(kept, ~kept & ~outlier, where, similarity)
        assert settings.eta is not None
        return self._selection(last, Decision(kept, where, similarity, settings.eta), settings, None)

    def _selection(
        self, search: Search, decision: Decision, settings: Settings, graph: NearDuplicateGraph | None
    ) -> Selection:
        ids, rows, origin = self.readable.ids, self.readable.rows, self.readable.origin
        table = pool_table(ids, rows, decision, search.outlier, search.cluster, search.distance)
        table = with_digests(table, self.readable.digests)
        recorded: dict[str, Any] = {"selector": "meddel", **asdict(settings)}
        del recorded["engine"]  # it does not change the answer
        return Selection(table, recorded, origin, decision.eta, graph, search.sample, self._notes(settings.eta))

    def _notes(self, eta: float | None) -> tuple[str, ...]:
        if eta is None or self.search.sample.share_above(eta) < _CONCENTRATED:
            return ()
        return (
            f"{self.search.sample.share_above(eta):.0%} of the compared pairs are above eta {eta}: these "
            "embeddings are so concentrated that an eta says little. Ask for a retention instead, or spread them out "
            "with subtract_mean or another pooling.",
        )


def graph_of(search: Search, rows: Rows) -> NearDuplicateGraph | None:
    """The search's pairs as a graph to be stored, where it has some. rows: numbers in the pool of the search's rows."""
    if search.pairs is None or search.settings.rule != "greedy":
        return None
    pairs = search.pairs
    moved = Pairs(rows[pairs.first], rows[pairs.second], pairs.cosine, pairs.floor)
    return NearDuplicateGraph(moved, [rows[group] for group in search.groups])
