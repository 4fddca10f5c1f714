"""The work behind MedDEL: cluster, set outliers aside, thin what is left by the cheaper engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from meddel_hf.clustering import cluster, distance
from meddel_hf.decide import Decision, at_count, at_eta
from meddel_hf.density import CosineSample
from meddel_hf.errors import InvalidArgument
from meddel_hf.graph import NearDuplicateGraph, rows_for
from meddel_hf.neighbors import Rows, Vectors, cosine_to_mean
from meddel_hf.pairs import Pairs, pairs_within
from meddel_hf.rules import BlockEngine, Engine, PairEngine
from meddel_hf.selection import Selection, pool_table
from meddel_hf.selectors.protocol import Readable

if TYPE_CHECKING:
    from meddel_hf.selectors.meddel import MedDEL

_SMALL = 20_000  # rows up to which the graph is always worth storing
_MOST_PAIRS_PER_ROW = 64
_CONCENTRATED = 0.2  # share of all pairs above eta from which eta says little


@dataclass(frozen=True, eq=False)
class Thinning:
    """The work of one `select`: rows are numbered among the readable ones."""

    settings: MedDEL
    readable: Readable
    vectors: Vectors
    outlier: NDArray[np.bool_]
    groups: Sequence[Rows]
    cluster: Rows | None
    distance: NDArray[np.float32] | None
    engine: Engine
    sample: CosineSample
    pairs: Pairs | None

    @classmethod
    def begin(cls, settings: MedDEL, readable: Readable, etas: Sequence[float] = ()) -> Thinning:
        """etas: what a sweep will ask for; else what the settings say."""
        vectors = readable.vectors(settings.subtract_mean)
        return cls.cluster_and_search(settings, readable, vectors, np.arange(len(vectors)), etas)

    @classmethod
    def cluster_and_search(
        cls, settings: MedDEL, readable: Readable, vectors: Vectors, rows: Rows, etas: Sequence[float] = ()
    ) -> Thinning:
        """Outliers among `rows`, and an engine for the rest."""
        n = len(vectors)
        outlier, labels, distances = np.zeros(n, bool), None, None
        if settings.epsilon is not None or settings.scope == "cluster":
            clusters = cluster(vectors, rows, _n_clusters(settings, len(readable.ids), len(rows)), settings.seed)
            labels, distances = np.zeros(n, np.int64), np.zeros(n, np.float32)
            labels[rows], distances[rows] = clusters.label, distance(clusters.cosine)
            if settings.epsilon is not None:
                outlier[rows] = distances[rows] > np.float32(settings.epsilon)
        left = rows[~outlier[rows]]
        if not len(left):
            raise InvalidArgument(
                f"epsilon={settings.epsilon} makes outliers of all {len(rows):,} rows: raise it, or turn the step off "
                "(epsilon=None)"
            )
        groups = _groups(settings, vectors, left, labels, distances)
        sample = CosineSample.draw(vectors, groups)
        pairs, engine = _engine(settings, vectors, groups, sample, etas)
        return cls(settings, readable, vectors, outlier, groups, labels, distances, engine, sample, pairs)

    def decide(self, settings: MedDEL) -> Decision:
        if settings.eta is not None:
            return at_eta(self.engine, settings.rule, settings.eta)
        assert settings.retention is not None
        target = rows_for(settings.retention, len(self.readable.ids), sum(map(len, self.groups)))
        return at_count(self.engine, settings.rule, target, self.sample)

    def at(self, settings: MedDEL) -> Selection:
        return self._told(self.decide(settings), settings, self._graph())

    def selection(self) -> Selection:
        if self.settings.max_iterations == 1:
            return self.at(self.settings)
        return self._again()

    def _again(self) -> Selection:
        """Cluster and thin the survivors until nothing more goes; duplicates are named at the end, over the pool."""
        run, settings = self, self.settings
        outlier, labels, distances = run.outlier.copy(), run.cluster, run.distance
        kept = run.decide(settings).kept
        for _ in range(1, settings.max_iterations):
            survivors = np.flatnonzero(kept)
            run = Thinning.cluster_and_search(settings, self.readable, self.vectors, survivors)
            if labels is not None and distances is not None and run.cluster is not None and run.distance is not None:
                labels[survivors], distances[survivors] = run.cluster[survivors], run.distance[survivors]
            outlier |= run.outlier
            kept = run.decide(settings).kept
            if kept.sum() == len(survivors):
                break
        where, similarity = np.full(len(kept), -1, np.int64), np.full(len(kept), -2, np.float32)
        order = np.argsort(_key(settings, self.vectors, np.arange(len(kept)), distances), kind="stable")
        BlockEngine(self.vectors, [order]).name_kept(kept, ~kept & ~outlier, where, similarity)
        assert settings.eta is not None
        last = replace(self, outlier=outlier, cluster=labels, distance=distances)
        return last._told(Decision(kept, where, similarity, settings.eta), settings, None)

    def _told(self, decision: Decision, settings: MedDEL, graph: NearDuplicateGraph | None) -> Selection:
        table = pool_table(self.readable.ids, self.readable.rows, decision, self.outlier, self.cluster, self.distance)
        told = {"selector": "meddel", **{k: v for k, v in asdict(settings).items() if k not in ("engine", "encoder")}}
        return Selection(table, told, self.readable.origin, decision.eta, graph, self.sample, self._notes(settings))

    def _graph(self) -> NearDuplicateGraph | None:
        if self.pairs is None or self.settings.rule != "greedy":
            return None
        rows, pairs = self.readable.rows, self.pairs
        moved = Pairs(rows[pairs.first], rows[pairs.second], pairs.cosine, pairs.floor)
        return NearDuplicateGraph(moved, [rows[group] for group in self.groups])

    def _notes(self, settings: MedDEL) -> tuple[str, ...]:
        if settings.eta is None or self.sample.share_above(settings.eta) < _CONCENTRATED:
            return ()
        return (
            f"{self.sample.share_above(settings.eta):.0%} of the compared pairs are above eta {settings.eta}: these "
            "embeddings are so concentrated that an eta says little. Ask for a retention instead, or spread them out "
            "with subtract_mean or another pooling.",
        )


def _n_clusters(settings: MedDEL, pool: int, rows: int) -> int:
    """round(sqrt(rows)) for "auto"; but no more than the rows to keep, since every cluster keeps one at least."""
    if settings.n_clusters != "auto":
        return settings.n_clusters
    most = rows
    if settings.scope == "cluster" and settings.retention is not None:
        most = rows_for(settings.retention, pool, rows)
    return min(most, max(1, round(rows**0.5)))


def _groups(
    settings: MedDEL, vectors: Vectors, rows: Rows, labels: Rows | None, distances: NDArray[np.float32] | None
) -> list[Rows]:
    """Rows that are compared with one another, each group in keep order; equals stay in the pool's order."""
    key = _key(settings, vectors, rows, distances)
    if settings.scope == "pool":
        return [rows[np.argsort(key, kind="stable")]]
    assert labels is not None
    order = np.lexsort((key, labels[rows]))
    return np.split(rows[order], np.flatnonzero(np.diff(labels[rows][order])) + 1)


def _key(
    settings: MedDEL, vectors: Vectors, rows: Rows, distances: NDArray[np.float32] | None
) -> NDArray[np.floating] | Rows:
    """What keep order sorts by, ascending, (len(rows),)."""
    if settings.keep == "random":
        return np.random.default_rng(settings.seed).permutation(len(vectors))[rows]
    if settings.scope == "pool":
        cosine = cosine_to_mean(vectors, rows)  # without a mean direction the pool's order decides
        return -cosine if settings.keep == "closest" else cosine
    assert distances is not None
    return distances[rows] if settings.keep == "closest" else -distances[rows]


def _engine(
    settings: MedDEL, vectors: Vectors, groups: Sequence[Rows], sample: CosineSample, etas: Sequence[float]
) -> tuple[Pairs | None, Engine]:
    """The cheaper engine, from the sample; seconds are those of a processor that multiplies 0.9 Tflop/s in bfloat16."""
    blocks = BlockEngine(vectors, groups)
    if settings.engine == "blocks":
        return None, blocks
    n = sum(map(len, groups))
    if settings.eta is not None:
        floor, etas = settings.eta, etas or (settings.eta,)
    else:
        assert settings.retention is not None
        about = sample.eta_for(settings.retention * n)
        floor, etas = about - 0.05, (about,) * 4
    expected, compared = sample.pairs_above(floor), float(sample.pairs[0])
    most = max(1_000_000, _MOST_PAIRS_PER_ROW * n)
    if settings.engine == "auto":
        per_pair = 2 * vectors.dim / 0.9e12
        by_pairs = compared * per_pair + expected * 1.5e-6
        # Every eta takes a pass, of rows against the kept ones before them, and a search for the dropped rows' nearest.
        share = np.array([sample.kept(eta) / n for eta in etas]).clip(max=1)
        by_blocks = compared * per_pair * float((2 * share * (1 - share / 2) + 2 * share * (1 - share)).sum())
        if expected > most or (n > _SMALL and by_pairs > by_blocks):
            return None, blocks
    if n <= _SMALL:  # a few more pairs, and the graph answers for lower etas too
        floor = min(floor, sample.floor_for(most / 4))
    pairs = pairs_within(vectors, groups, floor, most)
    if pairs is None and settings.engine == "pairs":
        raise InvalidArgument(
            f"more than {most:,} pairs are above {floor:.3f}: too many to store; leave engine at 'auto', or raise eta"
        )
    return (None, blocks) if pairs is None else (pairs, PairEngine(pairs, len(vectors), groups, blocks))
