"""An engine whose rows are in a scratch file: one piece of keep order after another is in memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.block_engine import BlockEngine
from meddel_hf.dedup.passes import Pass, Rule, Thinned, apply
from meddel_hf.dedup.scenes import Asked, Joining, Links, Scenes, in_portions
from meddel_hf.dedup.scratch import Pieces, Scratch
from meddel_hf.dedup.shared_engine import engine_of
from meddel_hf.neighbors.cosines import Rows, Vectors, nearest, rounded
from meddel_hf.neighbors.pairs import pairs_across
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.shared_work import Arrays, cut, digest_of, in_parts, shared_work


@dataclass(frozen=True, eq=False)
class _Piece:
    """Places of keep order that are in memory at once: whole groups, or a part of one.

    groups: of each, its places, counted from the beginning of the piece. large: places of the group that the piece is a
    part of, where it is.
    """

    start: int
    stop: int
    groups: list[Rows]
    large: slice | None


class ScratchEngine:
    """Answers as `BlockEngine` does, about groups that are read from a scratch file.

    n: rows of the pool. groups: row numbers; the scratch file holds them one group after another, cut into `pieces`.
    """

    def __init__(self, scratch: Scratch, n: int, groups: Sequence[Rows], pieces: Pieces):
        self.scratch, self.n, self.groups, self._rows = scratch, n, groups, pieces.rows
        self._order = np.concatenate(groups)
        self._pieces = _cut(list(map(len, groups)), pieces)
        sizes = list(map(len, groups))
        self._question = (
            "" if shared_work() is None else digest_of(scratch.read(0, 1), self._order, sizes, pieces.bounds)
        )

    def greedy(self, eta: float, limit: int | None = None) -> Pass:
        return self._pass("greedy", eta, limit)

    def thinned(self, eta: float) -> Thinned:
        stays, where, similarity = self._unknown()

        def in_whole_groups(piece: _Piece, vectors: Vectors) -> NDArray[np.float64]:
            return _stacked(*BlockEngine(vectors, piece.groups).thinned(eta))

        whole = self._of_whole_groups("selecting", ("thinned", float(rounded(eta))), in_whole_groups)
        with closing(whole), self._bar("selecting") as bar:
            for piece in self._pieces:
                part = slice(piece.start, piece.stop)
                if piece.large is None:
                    stays[part], at, similarity[part] = next(whole).T
                    where[part] = np.where(at < 0, -1, at + piece.start)
                else:
                    stays[part] = self._stays_in(piece, "greedy", eta, None, stays)
                bar.update(piece.stop - piece.start)
            for piece in self._pieces:
                if piece.large is not None:
                    self._name_in(piece, stays, ~stays, where, similarity)
        return self._by_row(stays, False), *self._named(where, similarity)

    def semdedup(self, eta: float, limit: int | None = None) -> Pass:
        return self._pass("semdedup", eta, None)

    def _pass(self, rule: Rule, eta: float, limit: int | None) -> Pass:
        stays = np.zeros(len(self._order), bool)
        count = seen = 0
        with closing(self._stays(rule, eta, limit, stays)) as answers, self._bar("selecting") as bar:
            for piece, kept in answers:
                part, here = slice(piece.start, piece.stop), int(kept.sum())
                if limit is not None and count + here > limit:
                    kept[np.flatnonzero(kept)[limit - count + 1 :]] = False
                    stays[part] = kept
                    seen += int(np.flatnonzero(kept)[-1]) + 1
                    return Pass(self._by_row(stays, False), limit + 1, False, seen / len(self._order))
                stays[part] = kept
                count, seen = count + here, seen + len(kept)
                bar.update(len(kept))
        return Pass(self._by_row(stays, False), count)

    def _stays(
        self, rule: Rule, eta: float, limit: int | None, stays: NDArray[np.bool_]
    ) -> Generator[tuple[_Piece, NDArray[np.bool_]], None, None]:
        """Who stays in each piece, in turn. stays: of all places, which the caller fills in for the pieces before.

        What stays beyond the first row above the limit is not told.
        """

        def in_whole_groups(piece: _Piece, vectors: Vectors) -> NDArray[np.bool_]:
            return apply(BlockEngine(vectors, piece.groups), rule, eta, limit).kept

        question = rule, float(rounded(eta)), limit
        whole = self._of_whole_groups("selecting", question, in_whole_groups, in_turn=limit is not None)
        for piece in self._pieces:
            yield piece, next(whole) if piece.large is None else self._stays_in(piece, rule, eta, limit, stays)

    def _stays_in(
        self, piece: _Piece, rule: Rule, eta: float, limit: int | None, stays: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Who stays in a part of a large group. stays: of all places before it."""
        assert piece.large is not None
        vectors = self.scratch.vectors(piece.start, piece.stop)
        groups, near = piece.groups, np.zeros(len(vectors), bool)
        if piece.large.start < piece.start:
            earlier = np.arange(piece.large.start, piece.start)
            near = self._any_above(vectors, earlier[stays[earlier]] if rule == "greedy" else earlier, eta)
            groups = [np.flatnonzero(~near)] if rule == "greedy" else groups
        left = None if limit is None else limit - int(stays[: piece.start].sum())
        return apply(engine_of(vectors, groups), rule, eta, left).kept & ~near

    def nearest_kept(
        self, kept: NDArray[np.bool_], asked: NDArray[np.bool_] | None = None
    ) -> tuple[Rows, NDArray[np.float32]]:
        stays, asks = kept[self._order], (~kept if asked is None else asked)[self._order]

        def in_whole_groups(piece: _Piece, vectors: Vectors) -> NDArray[np.float64]:
            part = slice(piece.start, piece.stop)
            return _stacked(*BlockEngine(vectors, piece.groups).nearest_kept(stays[part], asks[part]))

        _, where, similarity = self._unknown()
        whole = self._of_whole_groups("naming duplicates", ("named", stays, asks), in_whole_groups)
        with closing(whole), self._bar("naming duplicates") as bar:
            for piece in self._pieces:
                part = slice(piece.start, piece.stop)
                if piece.large is None:
                    at, similarity[part] = next(whole).T
                    where[part] = np.where(at < 0, -1, at + piece.start)
                else:
                    self._name_in(piece, stays, asks, where, similarity)
                bar.update(piece.stop - piece.start)
        return self._named(where, similarity)

    def _name_in(
        self, piece: _Piece, stays: NDArray[np.bool_], asks: NDArray[np.bool_], where: Rows,
        similarity: NDArray[np.float32],
    ) -> None:  # fmt: skip
        """Write down the nearest row that stays of those asked for in a part of a large group."""
        assert piece.large is not None
        goes = np.flatnonzero(asks[piece.start : piece.stop])
        vectors = self.scratch.vectors(piece.start, piece.stop)
        near = self._nearest(vectors, goes, piece.large.start + np.flatnonzero(stays[piece.large]))
        where[piece.start + goes], similarity[piece.start + goes] = near

    def _unknown(self) -> Thinned:
        """Of all places, before anything is known of them."""
        n = len(self._order)
        return np.zeros(n, bool), np.full(n, -1, np.int64), np.full(n, -2, np.float32)

    def _named(self, where: Rows, similarity: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
        """By places, as rows of the pool."""
        return self._by_row(np.where(where < 0, -1, self._order[where]), -1), self._by_row(similarity, -2)

    def scenes(self, kept: NDArray[np.bool_], eta: float) -> Scenes:
        stays = kept[self._order]

        def in_whole_groups(piece: _Piece, vectors: Vectors) -> NDArray[np.float64]:
            return _stacked(*BlockEngine(vectors, piece.groups).scenes(stays[piece.start : piece.stop], eta))

        joining = Joining(stays, np.arange(len(stays)))
        whole = self._of_whole_groups("linking", ("scenes", stays, float(rounded(eta))), in_whole_groups)
        with closing(whole), self._bar("linking") as bar:
            for piece in self._pieces:
                if piece.large is None:
                    apart, scene = next(whole).T
                    part = slice(piece.start, piece.stop)
                    joining.scenes.apart[part], joining.scenes.scene[part] = apart, scene + piece.start
                else:
                    for links in self._links_of(piece, piece.large, stays, eta):
                        joining.add(*links)
                bar.update(piece.stop - piece.start)
        scene = np.arange(self.n)
        scene[self._order] = self._order[joining.scenes.scene]
        return Scenes(self._by_row(joining.scenes.apart, False), scene)

    def _links_of(self, piece: _Piece, large: slice, stays: NDArray[np.bool_], eta: float) -> Iterator[Links]:
        """Places of rows that stay in a part of a large group, and of those that go anywhere in the group."""
        vectors = self.scratch.vectors(piece.start, piece.stop)
        goes = large.start + np.flatnonzero(~stays[large])

        def links(asked: Sequence[Asked]) -> Links:
            (one,) = asked
            rows = one.stays - piece.start

            def answer(part: slice) -> Arrays:
                found = [
                    (some, pairs_across(vectors, rows, others, np.arange(len(some)), eta))
                    for some, others in self._slabs(goes[part])
                ]
                pairs = [np.stack([piece.start + near.first, some[near.second]], axis=1) for some, near in found]
                return {"pairs": np.concatenate([np.zeros((0, 2), np.int64), *pairs])}

            def question() -> str:
                return digest_of("links", vectors.digest, rows, goes, float(rounded(eta)))

            cost = float(len(rows)) * vectors.dim
            pairs = in_parts("linking", question, len(goes), cost, answer, self._rows)["pairs"]
            return pairs[:, 0], pairs[:, 1]

        return in_portions([Asked(goes, piece.start + np.flatnonzero(stays[piece.start : piece.stop]))], links)

    def _of_whole_groups(
        self,
        name: str,
        question: tuple[object, ...],
        answer: Callable[[_Piece, Vectors], NDArray[Any]],
        in_turn: bool = False,
    ) -> Generator[NDArray[Any], None, None]:
        """answer(piece, its rows) of each piece of whole groups, in order; processes that share their work share it."""
        pieces = [piece for piece in self._pieces if piece.large is None]
        costs = np.array([sum(len(group) ** 2 for group in piece.groups) / 2 for piece in pieces]) * self.scratch.dim

        def of_part(part: slice) -> Arrays:
            read = ((piece, self._of_groups(piece)) for piece in pieces[part])
            answers = [answer(piece, vectors) for piece, vectors in read]
            return {"answers": np.concatenate(answers), "lengths": np.array(list(map(len, answers)))}

        work, parts = shared_work(), cut(costs)
        if work is None or len(parts) < 2:
            for piece in pieces:
                yield answer(piece, self._of_groups(piece))
            return
        dear = [float(costs[part].sum()) for part in parts]
        asked = digest_of(self._question, *question)
        for there in work.answers(name, asked, dear, lambda number: of_part(parts[number]), in_turn):
            yield from np.split(there["answers"], np.cumsum(there["lengths"])[:-1])

    def _of_groups(self, piece: _Piece) -> Vectors:
        """The rows of whole groups, which meet few others."""
        return self.scratch.vectors(piece.start, piece.stop, copy=False)

    def _nearest(self, vectors: Vectors, rows: Rows, places: Rows) -> tuple[Rows, NDArray[np.float32]]:
        """Of each of `rows`: the place among `places`, ascending, of greatest cosine, and that; -1 and -2 of none."""

        def answer(part: slice) -> Arrays:
            at, best = np.full(len(rows), -1, np.int64), np.full(len(rows), -2, np.float32)
            for some, others in self._slabs(places[part]):
                near, value = nearest(vectors, rows, others, np.arange(len(some)), best)
                better = value > best  # so that equals stay with the earlier one
                at[better], best[better] = some[near[better]], value[better]
            return {"at": at[None], "best": best[None]}

        def question() -> str:
            return digest_of("nearest", vectors.digest, rows, places)

        found = in_parts("naming duplicates", question, len(places), float(len(rows)) * vectors.dim, answer, self._rows)
        first = found["best"].argmax(axis=0)  # the first part of equals
        everyone = np.arange(len(rows))
        return found["at"][first, everyone], found["best"][first, everyone]

    def _any_above(self, vectors: Vectors, places: Rows, eta: float) -> NDArray[np.bool_]:
        """For each row: is its cosine with any row of these places above eta? (len(vectors),) bool."""

        def answer(part: slice) -> Arrays:
            near = np.zeros(len(vectors), bool)
            for _, others in self._slabs(places[part]):
                asked = np.flatnonzero(~near)
                floor = np.full(len(asked), rounded(eta))
                near[asked] = nearest(vectors, asked, others, np.arange(len(others)), floor)[1] > floor
            return {"near": near[None]}

        def question() -> str:
            return digest_of("near", vectors.digest, places, float(rounded(eta)))

        cost = float(len(vectors)) * vectors.dim
        parts = in_parts("selecting", question, len(places), cost, answer, self._rows)
        near: NDArray[np.bool_] = np.any(parts["near"], axis=0)
        return near

    def _slabs(self, places: Rows) -> Iterator[tuple[Rows, Vectors]]:
        for start in range(0, len(places), self._rows):
            part = places[start : start + self._rows]
            yield part, Vectors.prepare(self.scratch.take(part))

    def _bar(self, what: str) -> tqdm:
        return tqdm(total=len(self._order), desc=what, unit="row", delay=5, leave=False)

    def _by_row(self, of_places: NDArray, otherwise: float) -> NDArray:  # type: ignore[type-arg]
        answer = np.full(self.n, otherwise, of_places.dtype)
        answer[self._order] = of_places
        return answer


def _stacked(*columns: NDArray[Any]) -> NDArray[np.float64]:
    """(m, columns); places, cosines and flags are exact in float64."""
    return np.stack(columns, axis=1).astype(np.float64)


def _cut(sizes: Sequence[int], pieces: Pieces) -> list[_Piece]:
    """The pieces with the groups that each holds."""
    ends = np.cumsum(sizes)
    begins = ends - sizes
    answer = []
    for start, stop in pieces:
        first, last = int(np.searchsorted(ends, start, "right")), int(np.searchsorted(begins, stop))
        group = slice(int(begins[first]), int(ends[first]))
        if group.stop - group.start > stop - start:
            answer.append(_Piece(start, stop, [np.arange(stop - start)], group))
        else:
            bounds = zip(begins[first:last].tolist(), ends[first:last].tolist(), strict=True)
            answer.append(_Piece(start, stop, [np.arange(a - start, b - start) for a, b in bounds], None))
    return answer
