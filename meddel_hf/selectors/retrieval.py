"""Retrieval: the rows nearest to the frames of a task, each of which has its turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.clustering import distance
from meddel_hf.neighbors.cosines import Rows, Vectors, nearest
from meddel_hf.neighbors.knn import nearest_many
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, Readable, marked, opened
from meddel_hf.selectors.reference import centred, check_same_space

if TYPE_CHECKING:
    from datasets import Dataset

_SPARE = 4  # times as many rows as a turn each would take are ranked at first
_MOST_RANKED = 2**25


@dataclass(frozen=True)
class Retrieval(PoolSelector):
    """Retrieval towards a task (Lin, Zhu, Zhao, ..., 2022): rows of the pool nearest to those of a reference.

    Reference rows take turns: each takes the row of the pool that is nearest to it (greatest cosine; equals: the
    earlier row) among those that are still there, until enough are taken. So no reference frame has all of them.

    retention:     share of the pool to keep, met exactly: round(retention * n) rows. In (0, 1].
    seed:          of the order of turns.
    reference:     an `EmbeddingStore`, the path of one, or a plain (m, d) array: frames like those of the task, such as
                   its training frames; never those that it tests on.
    subtract_mean: as in MedDEL; the pool's mean is subtracted from the reference too.

    In the table, `cluster` is the number of a row's nearest reference row and `distance` that to it.

    Source: arXiv 2212.05473, which retrieves for each frame of the task; turns and exact counts are ours. Reference and
    pool must come from the same encoder and pooling, as far as they say: Mismatch otherwise.
    """

    retention: float
    seed: int = 0
    reference: Embeddings | None = None
    subtract_mean: bool = False

    def __post_init__(self) -> None:
        checks.common(self)
        if not isinstance(self.reference, EmbeddingStore | Readable | str | Path | np.ndarray) or (
            isinstance(self.reference, str) and not self.reference
        ):
            raise InvalidArgument(
                "reference must be an embedding store of the task's frames, the path of one, or an (m, d) array, got "
                f"{self.reference!r}"
            )

    @own_threads()
    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        """embeddings: an `EmbeddingStore`, the path of one, or a plain (n, d) array. `pool` is not needed.

        Raises Mismatch where the reference comes from another encoder or pooling, or has another number of dimensions.
        """
        embeddings, reference = opened(embeddings), opened(self.reference)
        readable, wanted = Readable.of(embeddings), Readable.of(reference)
        check_same_space(embeddings, reference)
        target = readable.rows_to_keep(self.retention)
        vectors = readable.vectors(self.subtract_mean)
        references = centred(wanted, readable) if self.subtract_mean else wanted.vectors()
        turns = np.random.default_rng(self.seed).permutation(len(references))
        kept = marked(len(vectors), take_turns(references, turns, vectors, target))
        cluster, cosine = nearest(vectors, np.arange(len(vectors)), references, np.arange(len(references)))
        settings = {
            "selector": "retrieval", "retention": self.retention, "seed": self.seed,
            "reference": str(self.reference) if isinstance(self.reference, str | Path) else wanted.origin.embeddings,
            "reference_fingerprint": wanted.origin.embeddings or wanted.origin.fingerprint,
            "subtract_mean": self.subtract_mean,
        }  # fmt: skip
        return readable.selection(kept, settings, cluster, distance(cosine))


def take_turns(references: Vectors, turns: Rows, vectors: Vectors, target: int) -> Rows:
    """Rows in the order in which they are taken, (target,) int64.

    Each reference row has a list of the nearest rows that are still there, as long as may be needed. Where one comes to
    its end, all lists are made anew, longer, of what is left.
    """
    taken, order = np.zeros(len(vectors), bool), np.empty(target, np.int64)
    done, length = 0, _SPARE * -(-target // len(turns))
    while done < target:
        there = np.flatnonzero(~taken)
        length = max(1, min(length, _MOST_RANKED // len(turns), len(there)))
        where, _ = nearest_many(references, turns, vectors, there, length)
        done, turns = _until_one_ends(there[where], taken, order, done, turns)
        length *= 2
    return order


def _until_one_ends(lists: Rows, taken: NDArray[np.bool_], order: Rows, done: int, turns: Rows) -> tuple[int, Rows]:
    """Take turns as long as the lists go; returns how many rows are taken, and whose turn is next, in order."""
    ranked = [iter(row.tolist()) for row in lists]
    while True:
        for turn, rows in enumerate(ranked):
            if done == len(order):
                return done, turns
            row = next((row for row in rows if not taken[row]), None)
            if row is None:
                return done, np.roll(turns, -turn)
            taken[row], order[done] = True, row
            done += 1
