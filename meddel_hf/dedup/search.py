"""Near-duplicates of a pool: rows are clustered, outliers set aside, and an engine answers for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.decision import Decision, at_count, at_eta, rows_for
from meddel_hf.dedup.density import CosineSample
from meddel_hf.dedup.pair_engine import PairEngine
from meddel_hf.dedup.passes import Engine, Rule
from meddel_hf.dedup.sampling import drawn
from meddel_hf.dedup.shared_engine import engine_of
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.clustering import by_default, cluster, distance
from meddel_hf.neighbors.cosines import Rows, Vectors, cosine_to_mean
from meddel_hf.neighbors.pairs import pairs_within
from meddel_hf.neighbors.shared import nearest
from meddel_hf.neighbors.stored_pairs import Pairs

Keep = Literal["closest", "farthest", "random", "largest"]

_SMALL = 20_000  # rows up to which the graph is always worth storing
_MOST_PAIRS_PER_ROW = 64


@dataclass(frozen=True)
class Settings:
    """What is searched, and how; `MedDEL`, which has them all, explains each."""

    retention: float | None = None
    eta: float | None = None
    epsilon: float | None = 0.9
    scope: Literal["cluster", "pool"] = "cluster"
    keep: Keep = "closest"
    rule: Rule = "greedy"
    subtract_mean: bool = False
    n_clusters: int | Literal["auto"] = "auto"
    max_iterations: int = 1
    seed: int = 0
    engine: Literal["auto", "pairs", "blocks"] = "auto"


@dataclass(frozen=True, eq=False)
class Grouping:
    """All that decides who stays; arrays are about all readable rows, (n,).

    pool:     rows of the pool, unreadable ones too: a retention is a share of these.
    groups:   rows that are compared with one another, each in keep order, without outliers.
    cluster, distance: of each row to its centroid; None where nothing was clustered.
    pairs:    those that the engine answers from; None where it stores none.
    """

    settings: Settings
    pool: int
    outlier: NDArray[np.bool_]
    groups: Sequence[Rows]
    cluster: Rows | None
    distance: NDArray[np.float32] | None
    engine: Engine
    sample: CosineSample
    pairs: Pairs | None

    def decide(self, eta: float | None, retention: float | None) -> Decision:
        """Who stays at an eta, or at exactly round(retention * pool) rows; one of the two is None."""
        if eta is not None:
            return at_eta(self.engine, self.settings.rule, eta)
        assert retention is not None
        target = rows_for(retention, self.pool, sum(map(len, self.groups)))
        return at_count(self.engine, self.settings.rule, target, self.sample)

    def nearest(self, goes: Rows, stays: Rows) -> tuple[Rows, NDArray[np.float32]]:
        """Of each row that goes: the row that stays of greatest cosine, in whatever group (equals: the earlier), and
        that cosine.

        goes, stays: row numbers, ascending. Both answers are (len(goes),).
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Search(Grouping):
    """What was found among `rows` of vectors that are in memory."""

    vectors: Vectors

    @classmethod
    def among(
        cls,
        settings: Settings,
        vectors: Vectors,
        rows: Rows,
        pool: int,
        etas: Sequence[float] = (),
        largest: Rows | None = None,
    ) -> Search:
        """Outliers among `rows`, and an engine for the others.

        etas: what will be asked for; else what settings say. largest: as of `keep_key`.
        Raises InvalidArgument where all rows are outliers, or where more pairs were to be stored than can be.
        """
        n = len(vectors)
        outlier, labels, distances = np.zeros(n, bool), None, None
        if clusters_rows(settings):
            clusters = cluster(vectors, rows, clusters_for(settings, pool, len(rows)), settings.seed)
            labels, distances = np.zeros(n, np.int64), np.zeros(n, np.float32)
            labels[rows], distances[rows] = clusters.label, distance(clusters.cosine)
            outlier[rows] = outliers(settings, distances[rows])
        left = rows[~outlier[rows]]
        key = keep_key(settings, n, left, distances, lambda: cosine_to_mean(vectors, left), largest)
        groups = groups_of(settings, left, key, labels)
        sample = drawn(vectors, groups)
        pairs, engine = _engine(settings, vectors, groups, sample, etas)
        return cls(settings, pool, outlier, groups, labels, distances, engine, sample, pairs, vectors)

    def nearest(self, goes: Rows, stays: Rows) -> tuple[Rows, NDArray[np.float32]]:
        where, cosine = nearest(self.vectors, goes, self.vectors, stays)
        return stays[where], cosine

    def keep_order(self) -> Rows:
        """All vectors' rows, those first that stay if they can."""
        rows = np.arange(len(self.vectors))
        key = keep_key(self.settings, len(rows), rows, self.distance, lambda: cosine_to_mean(self.vectors, rows))
        return np.argsort(key, kind="stable")


def clusters_rows(settings: Settings) -> bool:
    """Whether rows are clustered at all."""
    return settings.epsilon is not None or settings.scope == "cluster"


def meets_often(settings: Settings) -> bool:
    """Whether a row is compared with many, so that a copy to multiply with is worth its memory."""
    return settings.scope == "pool" or settings.max_iterations > 1


def clusters_for(settings: Settings, pool: int, rows: int) -> int:
    """round(sqrt(rows)) for "auto"; but no more than the rows to keep, since every cluster keeps one at least."""
    if settings.n_clusters != "auto":
        return settings.n_clusters
    most = rows
    if settings.scope == "cluster" and settings.retention is not None:
        most = rows_for(settings.retention, pool, rows)
    return min(most, by_default(rows))


def outliers(settings: Settings, distances: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Rows farther from their centroids than epsilon, (m,). Raises InvalidArgument where all are."""
    if settings.epsilon is None:
        return np.zeros(len(distances), bool)
    answer = distances > np.float32(settings.epsilon)
    if answer.all():
        raise InvalidArgument(
            f"epsilon={settings.epsilon} makes outliers of all {len(distances):,} rows: raise it, or turn the step off "
            "(epsilon=None)"
        )
    return answer


def groups_of(settings: Settings, rows: Rows, key: NDArray[Any], labels: Rows | None) -> list[Rows]:
    """Rows that are compared with one another, each group in keep order; equals stay in the pool's order.

    key: (len(rows),) of `keep_key`. labels: cluster of every row of the vectors.
    """
    if settings.scope == "pool":
        return [rows[np.argsort(key, kind="stable")]]
    assert labels is not None
    order = np.lexsort((key, labels[rows]))
    return np.split(rows[order], np.flatnonzero(np.diff(labels[rows][order])) + 1)


def keep_key(
    settings: Settings,
    n: int,
    rows: Rows,
    distances: NDArray[np.float32] | None,
    to_mean: Callable[[], NDArray[np.float32]],
    largest: Rows | None = None,
) -> NDArray[Any]:
    """What keep order sorts by, ascending, (len(rows),).

    n: all rows. distances: of all to their centroids. to_mean: cosines of `rows` to the mean direction. largest: of all
    rows, their places when the largest frames come first; needed where they are to stay.
    """
    if settings.keep == "largest":
        assert largest is not None
        return largest[rows]
    if settings.keep == "random":
        return np.random.default_rng(settings.seed).permutation(n)[rows]
    if settings.scope == "pool":
        cosine = to_mean()  # without a mean direction the pool's order decides
        return -cosine if settings.keep == "closest" else cosine
    assert distances is not None
    return distances[rows] if settings.keep == "closest" else -distances[rows]


def _engine(
    settings: Settings, vectors: Vectors, groups: Sequence[Rows], sample: CosineSample, etas: Sequence[float]
) -> tuple[Pairs | None, Engine]:
    """The cheaper engine, from the sample; seconds are those of a processor that multiplies 0.9 Tflop/s in bfloat16."""
    blocks = engine_of(vectors, groups)
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
