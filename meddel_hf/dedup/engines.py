"""Which rows stay: the greedy rule and SemDeDup's rule.

Two engines give the same answers. `PairEngine` looks them up in stored pairs; `BlockEngine` stores no pairs, so that
its memory is bounded however dense the near-duplicates are, and compares each row with kept rows only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.dedup.scenes import Asked, Joining, Links, Scenes, in_portions
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import (
    BLOCK,
    SIDE_BY_SIDE,
    TILE,
    Rows,
    Tier,
    Vectors,
    nearest,
    nearest_by,
    nearest_in_tile,
    rounded,
)
from meddel_hf.neighbors.device.greedy import greedy_by_pairs, greedy_in_group, greedy_in_groups
from meddel_hf.neighbors.device.nearest import nearest_in_groups
from meddel_hf.neighbors.pairs import Pairs, pairs_between
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.threads import own_threads, stream_threads

Rule = Literal["greedy", "semdedup"]
Answer = TypeVar("Answer")
_SMALL_BLOCK = 512  # rows of a small group that are looked at together
_SMALL_STEP = 256  # where nobody asks for the nearest kept rows, so that little is compared
_FLOAT32_UP_TO = 2048  # rows of a group
_MANY = 4  # groups per thread from which threads work at groups of their own


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


class _Kept:
    """Rows that are kept so far, in keep order, and their panel, which has room to grow so that to add is cheap."""

    def __init__(self, vectors: Vectors, tier: Tier) -> None:
        self.vectors, self.tier, self.rows = vectors, tier, np.zeros(0, np.int64)
        self._panel = vectors.panel(self.rows, tier)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, rows: Rows) -> None:
        start, end = len(self.rows), len(self.rows) + len(rows)
        if end > len(self._panel):
            room = max(end, len(self._panel) * 3 // 2)
            self._panel = torch.cat([self._panel, self._panel.new_empty((room - len(self._panel), self.vectors.dim))])
        self._panel[start:end] = self.vectors.panel(rows, self.tier)
        self.rows = np.concatenate([self.rows, rows])

    def tiles(self, first: int = 0) -> Iterator[tuple[int, Rows, torch.Tensor]]:
        """(place of the first row, rows, their panel) of each tile, from the kept row of that place on."""
        for start in range(first, len(self.rows), TILE):
            stop = min(start + TILE, len(self.rows))
            yield start, self.rows[start:stop], self._panel[start:stop]


@dataclass(frozen=True, eq=False)
class _Met:
    """What the n rows of a group, in keep order, know of the kept ones.

    stays: (n,) bool. where, best: (n,) of each row, the place among the kept ones of the nearest that it met and was
    above the threshold to, and that cosine; else the threshold. met: (n,) how many kept ones, the first ones, it met.
    """

    stays: NDArray[np.bool_]
    where: Rows
    best: NDArray[np.float32]
    met: Rows


class BlockEngine:
    """Compares blocks of rows with what is kept so far."""

    def __init__(self, vectors: Vectors, groups: Sequence[Rows]):
        self.vectors, self.groups = vectors, groups

    def thinned(self, eta: float) -> Thinned:
        if self.vectors.device is not None or rounded(eta) >= 1:
            return thinned_in_two(self, eta)
        n = len(self.vectors)
        kept, where, similarity = np.zeros(n, bool), np.full(n, -1, np.int64), np.full(n, -2, np.float32)
        bar = tqdm(total=sum(map(len, self.groups)), desc="selecting", unit="row", delay=5, leave=False)
        with bar, self._for_each(partial(self._thinned_in, eta=eta, bar=bar)) as answers:
            for order, of in zip(self.groups, answers, strict=True):
                stays, goes = order[of.stays], order[~of.stays]
                kept[stays] = True
                where[goes], similarity[goes] = stays[of.where[~of.stays]], of.best[~of.stays]
        return kept, where, similarity

    def _thinned_in(self, order: Rows, eta: float, bar: tqdm) -> _Met:
        """One pass in which each row meets each kept one once: those before it to know whether it stays, the others,
        where it does not, to know which is nearest."""
        n, (vectors, order, step, tier) = len(order), self._at_hand(order, _SMALL_BLOCK)
        kept = _Kept(vectors, tier)
        of = _Met(np.zeros(n, bool), np.zeros(n, np.int64), np.full(n, rounded(eta), np.float32), np.zeros(n, np.int64))
        meet = partial(_meet, kept, order, of)
        for start in range(0, n, step):
            here = np.arange(start, min(start + step, n))
            with own_threads() as threads:
                threads.each(meet, [here[part] for part in threads.parts(len(here))])
            free = here[of.best[here] <= rounded(eta)]
            keep, tile = _greedy_within(vectors, order[free], eta)
            stays, goes = free[keep], free[~keep]
            of.stays[stays] = True
            if len(goes):  # what these have met in the block is in the tile
                at, of.best[goes] = nearest_by(
                    torch.from_numpy(tile[np.ix_(~keep, keep)]), vectors.margin(vectors, "float32"), vectors,
                    order[goes], vectors, order[stays], of.best[goes], "float32",
                )  # fmt: skip
                of.where[goes] = len(kept) + at
            kept.add(order[stays])
            of.met[goes] = len(kept)
            bar.update(len(here))
        goes = np.flatnonzero(~of.stays & (of.met < len(kept)))
        goes = goes[np.argsort(of.met[goes], kind="stable")]
        alike = np.split(goes, np.flatnonzero(np.diff(of.met[goes])) + 1)  # met as many
        blocks = [rows[at : at + BLOCK] for rows in alike for at in range(0, len(rows), BLOCK)]
        with own_threads() as threads:
            for _ in tqdm(
                threads.map(meet, blocks), "naming duplicates", total=len(blocks), unit="block", delay=5, leave=False
            ):
                pass
        return of

    def greedy(self, eta: float, limit: int | None = None) -> Pass:
        kept = np.zeros(len(self.vectors), bool)
        total = sum(map(len, self.groups))
        count = seen = 0
        bar = tqdm(total=total, desc="selecting", unit="row", delay=5, leave=False)
        with bar, self._greedy_answers(eta, limit, bar) as answers:
            for order, stays in zip(self.groups, answers, strict=False):
                complete = True
                if limit is not None and count + int(stays.sum()) > limit:
                    complete, stays[np.flatnonzero(stays)[limit - count + 1 :]] = False, False
                kept[order[stays]] = True
                count += int(stays.sum())
                seen += len(order) if complete else int(np.flatnonzero(stays)[-1]) + 1
                if not complete:
                    return Pass(kept, count, False, seen / total)
        return Pass(kept, count)

    @contextmanager
    def _greedy_answers(self, eta: float, limit: int | None, bar: tqdm) -> Iterator[Iterator[NDArray[np.bool_]]]:
        """Who stays in each group, in order."""
        device = self.vectors.device
        if device is not None and len(self.groups) > 1 and rounded(eta) < 1:
            with closing(greedy_in_groups(device, self.groups, eta)) as answers:
                yield answers
            return
        with self._for_each(partial(self._greedy_in, eta=eta, room=limit, bar=bar)) as one_by_one:
            yield one_by_one

    def _greedy_in(self, order: Rows, eta: float, room: int | None, bar: tqdm) -> NDArray[np.bool_]:
        """Who stays in one group, (len(order),) bool; ends at the first row beyond `room`."""
        stays = np.zeros(len(order), bool)
        if rounded(eta) >= 1:  # no cosine exceeds 1
            stays[: None if room is None else room + 1] = True
            return stays
        if self.vectors.device is not None:
            return greedy_in_group(self.vectors.device, order, eta, room, bar.update)
        vectors, order, step, tier = self._at_hand(order, _SMALL_STEP)
        kept = _Kept(vectors, tier)
        for start in range(0, len(order), step):
            block = order[start : start + step]
            free = _free(kept, block, eta)
            new = free[_greedy_within(vectors, block[free], eta)[0]]
            if room is not None and len(kept) + len(new) > room:
                stays[start + new[: room + 1 - len(kept)]] = True
                return stays
            stays[start + new] = True
            kept.add(block[new])
            bar.update(len(block))
        return stays

    def _at_hand(self, order: Rows, step: int) -> tuple[Vectors, Rows, int, Tier]:
        """The rows of a group and their numbers there, how many to look at together (of a small group, `step`), and by
        which products first.

        A small group is copied; of a very small one products are so small that bfloat16 is no quicker.
        """
        if len(order) > SIDE_BY_SIDE:
            return self.vectors, order, BLOCK, self.vectors.cheapest
        tier: Tier = "float32" if len(order) <= _FLOAT32_UP_TO else self.vectors.cheapest
        return self.vectors.among(order), np.arange(len(order)), step, tier

    def semdedup(self, eta: float, limit: int | None = None) -> Pass:
        return _semdedup(self.groups, self._earlier, eta)

    @cached_property
    def _earlier(self) -> NDArray[np.float32]:
        """Greatest cosine of each row with an earlier row of its group, (n,) float32; -2 for a first row."""
        result = np.full(len(self.vectors), -2, np.float32)
        bar = tqdm(total=sum(map(len, self.groups)), desc="comparing", unit="row", delay=5, leave=False)
        with bar, self._for_each(partial(self._earlier_in, bar=bar)) as answers:
            for order, best in zip(self.groups, answers, strict=True):
                result[order] = best
        return result

    def _earlier_in(self, order: Rows, bar: tqdm) -> NDArray[np.float32]:
        best = np.full(len(order), -2, np.float32)
        for start in range(0, len(order), BLOCK):
            block, rest = order[start : start + BLOCK], slice(start + BLOCK, None)
            inside = self.vectors.exact_tile(block, self.vectors, block)
            inside[np.triu_indices(len(block))] = -2
            best[start : start + BLOCK] = np.maximum(best[start : start + BLOCK], inside.max(axis=1))
            best[rest] = nearest(self.vectors, order[rest], self.vectors, block, best[rest])[1]
            bar.update(len(block))
        return best

    def nearest_kept(
        self, kept: NDArray[np.bool_], asked: NDArray[np.bool_] | None = None
    ) -> tuple[Rows, NDArray[np.float32]]:
        where, similarity = np.full(len(kept), -1, np.int64), np.full(len(kept), -2, np.float32)
        self.name_kept(kept, ~kept if asked is None else asked, where, similarity)
        return where, similarity

    def name_kept(
        self, kept: NDArray[np.bool_], asked: NDArray[np.bool_], where: Rows, similarity: NDArray[np.float32]
    ) -> None:
        """Fill in `where` and `similarity`, as `nearest_kept` gives them, for the rows asked for, (n,) bool."""

        if self.vectors.device is not None and len(self.groups) > 1:
            asks = [(order[kept[order]], order[asked[order]]) for order in self.groups]
            asks = [(stays, goes) for stays, goes in asks if len(stays) and len(goes)]
            known, rows = [stays for stays, _ in asks], [goes for _, goes in asks]
            answers = nearest_in_groups(self.vectors.device, rows, known)
            for (stays, goes), (at, cosine) in zip(asks, answers, strict=True):
                where[goes], similarity[goes] = stays[at], cosine
            return

        def name(order: Rows) -> None:
            stays, goes = order[kept[order]], order[asked[order]]
            if len(stays) and len(goes):
                at, similarity[goes] = nearest(self.vectors, goes, self.vectors, stays)
                where[goes] = stays[at]

        with self._for_each(name) as named:
            for _ in tqdm(named, "naming duplicates", total=len(self.groups), unit="group", delay=5, leave=False):
                pass

    def scenes(self, kept: NDArray[np.bool_], eta: float) -> Scenes:
        def links(asked: Sequence[Asked]) -> Links:
            pairs = pairs_between(self.vectors, [(some.goes, np.sort(some.stays)) for some in asked], eta)
            return pairs.second, pairs.first

        joining = Joining(kept, _ranks(self.groups, len(kept)))
        groups = (Asked(np.sort(order[~kept[order]]), order[kept[order]]) for order in self.groups)
        for found in in_portions(groups, links):
            joining.add(*found)
        return joining.scenes

    @contextmanager
    def _for_each(self, work: Callable[[Rows], Answer]) -> Iterator[Iterator[Answer]]:
        """work(group) of each group, in order: many on threads of their own, a few one after the other on all."""
        device = self.vectors.device
        with own_threads() if device is None else stream_threads(device.place) as threads:
            if len(self.groups) < _MANY * threads.count:
                yield map(work, self.groups)
                return
            with closing(threads.map(work, self.groups)) as answers:
                yield answers


def _meet(kept: _Kept, order: Rows, of: _Met, rows: Rows) -> None:
    """Compare `rows`, places in the group that met as many, with the kept ones that they did not meet."""
    for start, cols, panel in kept.tiles(int(of.met[rows[0]]) if len(rows) else len(kept)):
        live = rows[of.best[rows] < 1]  # no cosine exceeds 1
        if not len(live):
            break
        at, value = nearest_in_tile(kept.vectors, order[live], kept.vectors, cols, panel, of.best[live], kept.tier)
        better = value > of.best[live]
        of.where[live[better]], of.best[live[better]] = start + at[better], value[better]
    of.met[rows] = len(kept)


def _free(kept: _Kept, block: Rows, eta: float) -> Rows:
    """Positions in a block of rows that no kept one is above eta to."""

    def free(part: slice) -> Rows:
        rows = np.arange(part.start, part.stop)
        for _, cols, panel in kept.tiles():
            if not len(rows):
                break
            rows = rows[~kept.vectors.any_above(block[rows], cols, eta, kept.tier, panel)]
        return rows

    with own_threads() as threads:
        return np.concatenate(list(threads.map(free, threads.parts(len(block)))))


def _greedy_within(vectors: Vectors, rows: Rows, eta: float) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """The greedy rule among the rows of one block, (m,) bool; and their cosines as float32 products, (m, m)."""
    keep, blocked = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    panel = vectors.panel(rows, "float32")
    cosine, margin = (panel @ panel.T).numpy(), vectors.margin(vectors, "float32")
    above, maybe = cosine > float(rounded(eta)) + margin, cosine >= float(rounded(eta)) - margin
    maybe &= ~above
    doubtful = np.asarray(maybe.any(axis=1))
    for r in range(len(rows)):
        if blocked[r]:
            continue
        keep[r] = True
        blocked |= above[r]
        if doubtful[r]:
            ask = np.flatnonzero(maybe[r] & ~blocked)
            ask = ask[ask > r]
            exact = vectors.exact(np.full(len(ask), rows[r]), vectors, rows[ask])
            blocked[ask] = exact > rounded(eta)
    return keep, cosine


class PairEngine:
    """Looks answers up in stored pairs; what lies at or below their floor is left to `below`, if there is one."""

    def __init__(self, pairs: Pairs, n: int, groups: Sequence[Rows], below: BlockEngine | None = None):
        self.pairs, self.n, self.groups, self.below = pairs, n, groups, below

    @cached_property
    def _rank(self) -> Rows:
        """Position of each row in keep order, (n,)."""
        return _ranks(self.groups, self.n)

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
        return _semdedup(self.groups, self._earlier, eta)

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


def _ranks(groups: Sequence[Rows], n: int) -> Rows:
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


def _semdedup(groups: Sequence[Rows], earlier: NDArray[np.float32], eta: float) -> Pass:
    kept = np.zeros(len(earlier), bool)
    for order in groups:
        kept[order] = ~(earlier[order] > rounded(eta))
    return Pass(kept, int(kept.sum()))
