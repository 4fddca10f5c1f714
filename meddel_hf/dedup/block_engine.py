"""The engine that compares rows: blocks of them with what is kept so far.

It stores no pairs, so that its memory is bounded however dense the near-duplicates are. `PairEngine` gives the same
answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.dedup.passes import Pass, Thinned, by_semdedup, ranks, thinned_in_two
from meddel_hf.dedup.scenes import Asked, Joining, Links, Scenes, in_portions
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
from meddel_hf.neighbors.device.greedy import greedy_in_group, greedy_in_groups
from meddel_hf.neighbors.device.nearest import nearest_in_groups
from meddel_hf.neighbors.pairs import pairs_between
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.threads import own_threads, stream_threads

Answer = TypeVar("Answer")
_SMALL_BLOCK = 512  # rows of a small group that are looked at together
_SMALL_STEP = 256  # where nobody asks for the nearest kept rows, so that little is compared
_FLOAT32_UP_TO = 2048  # rows of a group
_MANY = 4  # groups per thread from which threads work at groups of their own


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
        return by_semdedup(self.groups, self._earlier, eta)

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

        joining = Joining(kept, ranks(self.groups, len(kept)))
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
