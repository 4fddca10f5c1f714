"""Balanced: hierarchical k-means, and draws that every branch of the tree has the same share of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.clustering import Clustering, cluster, distance
from meddel_hf.neighbors.cosines import Rows, Vectors, nearest
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, Readable, marked
from meddel_hf.selectors.quotas import Counts, even_shares

if TYPE_CHECKING:
    from datasets import Dataset

_RESAMPLINGS = 3
_MOST_OF_A_CLUSTER = 8
_FEWEST_BRANCHES = 10


@dataclass(frozen=True)
class Balanced(PoolSelector):
    """Hierarchical k-means with balanced draws (Vo, Khalidov, Darcet, ..., Bojanowski, TMLR 2024).

    k-means over the rows, k-means over its centroids, and so on up. Then the budget is shared out down that tree, as
    evenly as can be among the clusters of a level: one with fewer rows than its share gives all, and the others share
    what it lacks. Within a lowest cluster rows are drawn at random.

    retention:     share of the pool to keep, met exactly: round(retention * n) rows. In (0, 1].
    seed:          of the clusterings and the draws.
    levels:        numbers of clusters from the lowest level up, such as (1000, 100), or "auto": the lesser of n / 16
                   and 2 sqrt(n), then a tenth of the level below for as long as that makes ten.
    subtract_mean: as in MedDEL.

    In the table, `cluster` is the lowest one of a row and `distance` that to its centroid.

    Source: arXiv 2405.15613, Section 3. At every level k-means is run again, three times, on the rows closest to each
    centroid (half of the mean cluster's, 8 at most), as in the paper's resampling, which flattens how centroids are
    spread; the paper resamples oftener. Numbers of clusters are in the paper's proportions as far as a pool of less
    than a million rows has them. Where a share does not divide, lots are drawn for the remainder.
    """

    retention: float
    seed: int = 0
    levels: Sequence[int] | Literal["auto"] = "auto"
    subtract_mean: bool = False

    def __post_init__(self) -> None:
        checks.common(self)
        if self.levels != "auto":
            object.__setattr__(self, "levels", _whole_numbers(self.levels))

    @own_threads()
    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        readable = Readable.of(embeddings)
        target = readable.rows_to_keep(self.retention)
        vectors = readable.vectors(self.subtract_mean)
        n = len(vectors)
        numbers = levels_of(n) if self.levels == "auto" else self.levels
        lowest, above = tree(vectors, [int(number) for number in numbers], self.seed)
        rng = np.random.default_rng(self.seed)
        share = shares(lowest.label, above, target, rng)
        drawn = rng.permutation(n)
        place = drawn[np.argsort(lowest.label[drawn], kind="stable")]
        size = np.bincount(lowest.label, minlength=len(share))
        first = np.cumsum(size) - size
        rows = [place[start : start + count] for start, count in zip(first, share, strict=True)]
        settings = {"selector": "balanced", **asdict(self)}
        if self.levels != "auto":
            settings["levels"] = list(self.levels)
        kept = marked(n, np.concatenate(rows))
        return readable.selection(kept, settings, lowest.label, distance(lowest.cosine))


def levels_of(n: int) -> list[int]:
    """Numbers of clusters for n rows, from the lowest level up."""
    levels = [max(1, int(min(n / 16, 2 * n**0.5)))]
    while levels[-1] >= _FEWEST_BRANCHES**2:
        levels.append(levels[-1] // 10)
    return levels


def tree(vectors: Vectors, levels: Sequence[int], seed: int) -> tuple[Clustering, list[Rows]]:
    """The clustering of the rows, and for each level above it, the cluster there of every cluster below (-1: empty)."""
    lowest = last = _flattened(vectors, np.arange(len(vectors)), levels[0], seed)
    used = np.unique(last.label)
    above = []
    for number in levels[1:]:
        below = last.centroids
        last = _flattened(below, used, number, seed)
        label = np.full(len(below), -1)
        label[used] = last.label
        above.append(label)
        used = np.unique(last.label)
    return lowest, above


def _flattened(vectors: Vectors, rows: Rows, number: int, seed: int) -> Clustering:
    """k-means of `rows`, then of those closest to its centroids, and again; every row is assigned at the end."""
    done = cluster(vectors, rows, number, seed)
    each = min(_MOST_OF_A_CLUSTER, len(rows) // (2 * len(done.centroids)))
    for again in range(_RESAMPLINGS if each >= 2 else 0):
        order = np.lexsort((-done.cosine, done.label))
        _, first = np.unique(done.label[order], return_index=True)
        turn = np.arange(len(order)) - np.repeat(first, np.diff([*first, len(order)]))
        closest = np.sort(rows[order[turn < each]])
        centroids = cluster(vectors, closest, number, seed + 1 + again).centroids
        done = Clustering(*nearest(vectors, rows, centroids, np.arange(len(centroids))), centroids)
    return done


def shares(label: Rows, above: Sequence[Rows], total: int, rng: np.random.Generator) -> Counts:
    """Rows that each lowest cluster keeps; `above` as of `tree`."""
    sizes = [np.bincount(label)]
    for parent in above:
        there = parent >= 0
        below = np.zeros(len(parent), np.int64)
        below[: len(sizes[-1])] = sizes[-1]
        sizes[-1] = below
        sizes.append(np.bincount(parent[there], below[there]).astype(np.int64))
    share = even_shares(sizes[-1], total, rng.permutation(len(sizes[-1])))
    for parent, size in zip(reversed(above), reversed(sizes[:-1]), strict=True):
        lower = np.zeros(len(size), np.int64)
        for branch in np.flatnonzero(share):
            children = np.flatnonzero(parent == branch)
            lower[children] = even_shares(size[children], int(share[branch]), rng.permutation(len(children)))
        share = lower
    return share


def _whole_numbers(levels: object) -> tuple[int, ...]:
    numbers = tuple(levels) if isinstance(levels, Sequence) and not isinstance(levels, str) else (levels,)
    whole = bool(numbers) and all(checks.is_whole(number) and number >= 1 for number in numbers)
    if not whole or list(numbers) != sorted(numbers, reverse=True):
        raise InvalidArgument(
            f"levels must be 'auto' or numbers of clusters, the lowest level first, such as (1000, 100), got {levels!r}"
        )
    return numbers
