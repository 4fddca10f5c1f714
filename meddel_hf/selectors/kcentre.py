"""KCentre: again and again the row that is farthest from all that were taken before."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.neighbors.clustering import distance
from meddel_hf.neighbors.cosines import BLOCK, Rows, Vectors, cosine_to_mean, nearest, product
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, Readable, marked

if TYPE_CHECKING:
    from datasets import Dataset

_CANDIDATES = 2048  # farthest rows that are looked at together
_TAKEN = 2.0  # above every cosine


@dataclass(frozen=True)
class KCentre(PoolSelector):
    """k-centre greedy, the core-set of Sener and Savarese (ICLR 2018): farthest-first traversal.

    Distances are Euclidean between unit vectors, compared exactly (by their cosines, on the grid of 2^-24); equals go
    to the earlier row of the pool. The greatest distance of a row to its nearest kept one is at most twice the least
    that as many rows can reach (Gonzalez 1985). With one seed, a lower retention keeps a part of what a higher one
    keeps.

    retention:     share of the pool to keep, met exactly: round(retention * n) rows. In (0, 1].
    seed:          of the first centre, where that is random.
    first:         "random", or "medoid": the row closest to the pool's mean direction.
    subtract_mean: as in MedDEL.

    In the table, `cluster` is the number of a row's nearest centre, in the order in which centres were taken, and
    `distance` the distance to it; a kept row is the centre of its own cluster, at distance 0. `duplicate_of` stays
    empty, since the rows that go may be far from it.

    Source: arXiv 1708.00489, Algorithm 1, with an empty initial pool.
    """

    retention: float
    seed: int = 0
    first: Literal["random", "medoid"] = "random"
    subtract_mean: bool = False

    def __post_init__(self) -> None:
        checks.common(self)
        checks.choice("first", self.first, ("random", "medoid"))

    @own_threads()
    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        readable = Readable.of(embeddings)
        target = readable.rows_to_keep(self.retention)
        vectors = readable.vectors(self.subtract_mean)
        first = medoid(vectors) if self.first == "medoid" else np.random.default_rng(self.seed).integers(len(vectors))
        done = farthest_first(vectors, int(first), target)
        settings = {"selector": "k-centre", **asdict(self)}
        return readable.selection(marked(len(vectors), done.centres), settings, done.nearest, distance(done.cosine))


@dataclass(frozen=True, eq=False)
class Traversal:
    """centres: (k,) rows in the order in which they were taken; nearest: (n,) number of each row's nearest centre
    (equals: the earlier), of a centre its own; cosine: (n,) float32 to it."""

    centres: Rows
    nearest: Rows
    cosine: NDArray[np.float32]


def medoid(vectors: Vectors) -> int:
    """The row closest to the mean direction, which is the one of greatest mean cosine to all (equals: the earlier)."""
    return int(cosine_to_mean(vectors, np.arange(len(vectors))).argmax())


def farthest_first(vectors: Vectors, first: int, count: int) -> Traversal:
    """Take `first`, then the row whose greatest cosine to a centre is least (equals: the earlier row), and so on."""
    bounds, width = _Bounds.begin(vectors, first), _CANDIDATES
    while len(bounds.centres) < count:
        bounds.sharpen(width)
        new = bounds.next_centres(count - len(bounds.centres))
        if new:
            bounds.take(new)
        width = _CANDIDATES if new else 4 * width
    centres = np.array(bounds.centres)
    where, cosine = nearest(vectors, np.arange(len(vectors)), vectors, centres)
    where[centres], cosine[centres] = np.arange(count), 1
    return Traversal(centres, where, cosine)


@dataclass(eq=False)
class _Bounds:
    """What is known of each row's greatest cosine to a centre while a traversal is under way.

    It can only grow, so that what was true of fewer centres, or up to an error, still bounds it from below. The rows
    with the lowest bounds are worked out exactly and traversed among themselves, for as long as they stay below all
    others; then one float32 product with the new centres renews everybody's bound.

    lower: (n,) float64, at most the true value; 2 for the centres themselves.
    seen:  (n,) int64, number of centres for which `lower` was exact when it was last worked out.
    """

    vectors: Vectors
    lower: NDArray[np.float64]
    seen: Rows
    centres: list[int]

    @classmethod
    def begin(cls, vectors: Vectors, first: int) -> _Bounds:
        bounds = cls(vectors, np.full(len(vectors), -2.0), np.zeros(len(vectors), np.int64), [])
        bounds.take([first])
        return bounds

    def take(self, new: list[int]) -> None:
        """Add centres, and raise every bound to the cosine with the nearest of them, less the error of float32."""
        self.centres += new
        unit, margin = self.vectors.unit, self.vectors.margin(self.vectors, "float32")
        panel = unit[torch.tensor(new)]

        def raised(start: int) -> None:
            part = slice(start, start + BLOCK)
            top = product(unit[part], panel).amax(dim=1).double().numpy()
            np.maximum(self.lower[part], top - margin, out=self.lower[part])

        with own_threads() as threads:
            for _ in threads.map(raised, range(0, len(unit), BLOCK)):
                pass
        self.lower[new] = _TAKEN

    def exact(self, rows: Rows) -> NDArray[np.bool_]:
        at_most = self.lower[rows] >= 1  # no cosine grows beyond 1
        known: NDArray[np.bool_] = at_most | (self.seen[rows] == len(self.centres))
        return known

    def sharpen(self, width: int) -> None:
        """Make the `width` lowest bounds exact."""
        rows = np.argsort(self.lower, kind="stable")[:width]
        rows = rows[~self.exact(rows)]
        if len(rows):
            _, self.lower[rows] = nearest(self.vectors, rows, self.vectors, np.array(self.centres))
            self.seen[rows] = len(self.centres)

    def next_centres(self, most: int) -> list[int]:
        """The centres that come next as far as the exact bounds tell, `most` at most; none where they do not tell."""
        order = np.argsort(self.lower, kind="stable")[: _CANDIDATES + 1]
        inexact = np.flatnonzero(~self.exact(order))
        end = int(inexact[0]) if len(inexact) else min(len(order), _CANDIDATES)
        others = (self.lower[order[end]], order[end]) if end < len(order) else (_TAKEN, 0)
        rows = np.sort(order[:end])
        among, lower = self.vectors.exact_tile(rows, self.vectors, rows), self.lower[rows]
        centres: list[int] = []
        while end and len(centres) < most:
            at = int(lower.argmin())
            if (lower[at], rows[at]) >= others:
                break
            centres.append(int(rows[at]))
            np.maximum(lower, among[at], out=lower)
            lower[at] = _TAKEN
        return centres
