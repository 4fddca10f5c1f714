"""KCentre: again and again the row that is farthest from all that were taken before."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from meddel_hf.clustering import distance
from meddel_hf.neighbors import Rows, Vectors, mean_direction_sum, nearest
from meddel_hf.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.protocol import Embeddings, Readable, marked

if TYPE_CHECKING:
    from datasets import Dataset

_CANDIDATES = 1024  # farthest rows that are looked at together
_TAKEN = 2.0  # above every cosine


@dataclass(frozen=True)
class KCentre:
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
        checks.fraction("retention", self.retention)
        checks.count("seed", self.seed, 0)
        checks.choice("first", self.first, ("random", "medoid"))

    def select(self, embeddings: Embeddings, pool: Dataset | None = None) -> Selection:
        """embeddings: an `EmbeddingStore`, the path of one, or a plain (n, d) array. `pool` is not needed."""
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
    middle = mean_direction_sum(vectors.base, vectors.norms)
    if np.linalg.norm(middle) < 1e-6:  # rows that cancel out have no middle
        return 0
    _, cosine = nearest(vectors, np.arange(len(vectors)), Vectors.prepare(middle[None]), np.zeros(1, np.int64))
    return int(cosine.argmax())


def farthest_first(vectors: Vectors, first: int, count: int) -> Traversal:
    """Take `first`, then the row whose greatest cosine to a centre is least (equals: the earlier row), and so on.

    The greatest cosine can only grow with more centres, so that an old one is a lower bound. The rows with the lowest
    bounds are traversed among themselves for as long as they stay below the bounds of all others; then the bounds of
    all rows are renewed at once, in one matrix product with the new centres.
    """
    everything = np.arange(len(vectors))
    taken, renewed = [first], 0
    best, where = np.full(len(vectors), -2, np.float32), np.zeros(len(vectors), np.int64)
    while True:
        new = np.array(taken[renewed:])
        best[new], where[new] = _TAKEN, np.arange(renewed, len(taken))
        at, cosine = nearest(vectors, everything, vectors, new, best)
        closer = cosine > best
        best, where[closer] = cosine, renewed + at[closer]
        renewed = len(taken)
        missing = count - renewed
        if not missing:
            best[taken] = 1
            return Traversal(np.array(taken), where, best)
        # No cosine exceeds 1: once all rows are copies of centres, the pool's order decides.
        taken += list(np.flatnonzero(best == 1)[:missing]) if best.min() == 1 else _next(vectors, best, missing)


def _next(vectors: Vectors, best: NDArray[np.float32], missing: int) -> list[int]:
    """The next centres, at least one and at most `missing`, by the greatest cosines to centres so far."""
    order = np.argsort(best, kind="stable")[: _CANDIDATES + 1]
    limit = (best[order[-1]], order[-1]) if len(order) > _CANDIDATES else (_TAKEN, 0)
    rows = np.sort(order[:_CANDIDATES])
    among, bound = vectors.exact_tile(rows, vectors, rows), best[rows]
    found: list[int] = []
    while len(found) < missing:
        at = int(bound.argmin())
        if (bound[at], rows[at]) >= limit:
            break
        found.append(int(rows[at]))
        np.maximum(bound, among[at], out=bound)
        bound[at] = _TAKEN
    return found
