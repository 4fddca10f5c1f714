"""The engine of stored pairs: what stays at a threshold is looked up, and no embeddings are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.passes import Pass, Thinned, by_semdedup, ranks, thinned_in_two
from meddel_hf.dedup.scenes import Joining, Scenes
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.float64 import Rows, rounded
from meddel_hf.neighbors.stored_pairs import Pairs, greedy_by_pairs

if TYPE_CHECKING:
    from meddel_hf.dedup.block_engine import BlockEngine


class PairEngine:
    """Looks answers up in stored pairs; what lies at or below their floor is left to `below`, if there is one."""

    def __init__(self, pairs: Pairs, n: int, groups: Sequence[Rows], below: BlockEngine | None = None):
        self.pairs, self.n, self.groups, self.below = pairs, n, groups, below

    @cached_property
    def _rank(self) -> Rows:
        """Position of each row in keep order, (n,)."""
        return ranks(self.groups, self.n)

    @cached_property
    def _by_earlier(self) -> tuple[Rows, Rows, NDArray[np.float32]]:
        """Pairs of grouped rows sorted by the rank of the earlier one: earlier ranks, later ranks, cosines."""
        a, b = self._rank[self.pairs.first], self._rank[self.pairs.second]
        grouped = (a >= 0) & (b >= 0)
        earlier, later = np.minimum(a, b)[grouped], np.maximum(a, b)[grouped]
        order = np.argsort(earlier, kind="stable")
        return earlier[order], later[order], self.pairs.cosine[grouped][order]

    def _asks_below(self, eta: float) -> bool:
        if rounded(eta) >= rounded(self.pairs.floor):
            return False
        if self.below is None:
            raise InvalidArgument(
                f"eta {eta:.4f} is below {self.pairs.floor:.4f}, the lowest cosine that the stored pairs hold: "
                "select again from the embeddings"
            )
        return True

    def greedy(self, eta: float, limit: int | None = None) -> Pass:
        if self._asks_below(eta):
            assert self.below is not None
            return self.below.greedy(eta, limit)
        order, (earlier, later, cosine) = np.concatenate(self.groups), self._by_earlier
        near = cosine > rounded(eta)
        stays = np.flatnonzero(greedy_by_pairs(len(order), earlier[near], later[near]))
        kept = np.zeros(self.n, bool)
        if limit is not None and len(stays) > limit:
            stays = stays[: limit + 1]
            kept[order[stays]] = True
            return Pass(kept, len(stays), False, (int(stays[-1]) + 1) / len(order))
        kept[order[stays]] = True
        return Pass(kept, len(stays))

    def thinned(self, eta: float) -> Thinned:
        if self._asks_below(eta):
            assert self.below is not None
            return self.below.thinned(eta)
        return thinned_in_two(self, eta)

    def semdedup(self, eta: float, limit: int | None = None) -> Pass:
        if self._asks_below(eta):
            assert self.below is not None
            return self.below.semdedup(eta, limit)
        return by_semdedup(self.groups, self._earlier, eta)

    @cached_property
    def _earlier(self) -> NDArray[np.float32]:
        _, later, cosine = self._by_earlier
        by_rank = np.full(len(np.concatenate(self.groups)), -2, np.float32)
        np.maximum.at(by_rank, later, cosine)
        result = np.full(self.n, -2, np.float32)
        result[np.concatenate(self.groups)] = by_rank
        return result

    def nearest_kept(
        self, kept: NDArray[np.bool_], asked: NDArray[np.bool_] | None = None
    ) -> tuple[Rows, NDArray[np.float32]]:
        asked = ~kept if asked is None else asked
        first, second, cosine = self.pairs.first, self.pairs.second, self.pairs.cosine
        grouped = (self._rank[first] >= 0) & (self._rank[second] >= 0)
        grouped &= (kept[first] & asked[second]) | (asked[first] & kept[second])
        first, second, cosine = first[grouped], second[grouped], cosine[grouped]
        stays, goes = np.where(kept[first], first, second), np.where(kept[first], second, first)
        greatest = np.full(self.n, -2, np.float32)
        np.maximum.at(greatest, goes, cosine)
        best = np.flatnonzero(cosine == greatest[goes])  # one of each that goes, but for equals
        best = best[np.lexsort((self._rank[stays[best]], goes[best]))]
        best = best[np.unique(goes[best], return_index=True)[1]]
        where, similarity = np.full(self.n, -1, np.int64), np.full(self.n, -2, np.float32)
        where[goes[best]], similarity[goes[best]] = stays[best], cosine[best]
        if self.below is not None:  # by SemDeDup's rule the nearest kept row may lie below the floor
            unknown = np.zeros(self.n, bool)
            unknown[np.concatenate(self.groups)] = True
            unknown &= asked & (where < 0)
            if unknown.any():
                self.below.name_kept(kept, unknown, where, similarity)
        return where, similarity

    def scenes(self, kept: NDArray[np.bool_], eta: float) -> Scenes:
        if self._asks_below(eta):
            assert self.below is not None
            return self.below.scenes(kept, eta)
        first, second = self.pairs.first, self.pairs.second
        near = (self.pairs.cosine > rounded(eta)) & (kept[first] != kept[second])
        near &= (self._rank[first] >= 0) & (self._rank[second] >= 0)
        first, second = first[near], second[near]
        joining = Joining(kept, self._rank)
        joining.add(np.where(kept[first], first, second), np.where(kept[first], second, first))
        return joining.scenes
