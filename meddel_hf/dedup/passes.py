"""Which rows stay: the greedy rule and SemDeDup's rule, and what an engine that follows them answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.scenes import Scenes
from meddel_hf.neighbors.float64 import Rows, rounded

Rule = Literal["greedy", "semdedup"]


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass over the pool kept.

    kept:     (n,) bool over the rows of the pool; rows outside every group are False.
    count:    how many.
    complete: False when the pass stopped because more than its limit stayed; `share` of the rows were seen until then.
    """

    kept: NDArray[np.bool_]
    count: int
    complete: bool = True
    share: float = 1.0


Thinned = tuple[NDArray[np.bool_], Rows, NDArray[np.float32]]  # (n,) each: kept; of the others, nearest kept and cosine


class Engine(Protocol):
    """Answers about rows in groups, each group an array of row numbers in keep order; groups never meet."""

    groups: Sequence[Rows]

    def greedy(self, eta: float, limit: int | None = None) -> Pass:
        """In keep order, a row goes if a row that stays is above eta. Stops early once more than `limit` stay."""

    def thinned(self, eta: float) -> Thinned:
        """What `greedy` keeps, and of that what `nearest_kept` says."""

    def semdedup(self, eta: float, limit: int | None = None) -> Pass:
        """A row goes if any earlier row is above eta, whether that one stays or not."""

    def nearest_kept(
        self, kept: NDArray[np.bool_], asked: NDArray[np.bool_] | None = None
    ) -> tuple[Rows, NDArray[np.float32]]:
        """Of each row asked for: the kept row of its group with the greatest cosine, and that cosine.

        kept, asked: (n,), no row in both; None: every row that is not kept. Equal cosines go to the earlier in keep
        order. Both are (n,); other rows, and rows without a kept row that the engine knows of, have -1 and -2.
        """

    def scenes(self, kept: NDArray[np.bool_], eta: float) -> Scenes:
        """What is of one scene: pairs of a group, above eta, of a row that stays and a row that goes, link the two."""


def ranks(groups: Sequence[Rows], n: int) -> Rows:
    """Position of each of n rows in keep order, (n,); -1 of those in no group."""
    order = np.concatenate(groups)
    rank = np.full(n, -1, np.int64)
    rank[order] = np.arange(len(order))
    return rank


def thinned_in_two(engine: Engine, eta: float) -> Thinned:
    """`Engine.thinned`, one question after the other."""
    kept = engine.greedy(eta).kept
    return kept, *engine.nearest_kept(kept)


def apply(engine: Engine, rule: Rule, eta: float, limit: int | None = None) -> Pass:
    """One pass by the named rule."""
    return engine.greedy(eta, limit) if rule == "greedy" else engine.semdedup(eta, limit)


def by_semdedup(groups: Sequence[Rows], earlier: NDArray[np.float32], eta: float) -> Pass:
    kept = np.zeros(len(earlier), bool)
    for order in groups:
        kept[order] = ~(earlier[order] > rounded(eta))
    return Pass(kept, int(kept.sum()))
