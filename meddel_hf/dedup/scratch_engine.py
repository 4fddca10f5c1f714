"""An engine whose rows are in a scratch file: one piece of keep order after another is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.engines import BlockEngine, Pass, Rule, apply
from meddel_hf.dedup.scratch import Pieces, Scratch
from meddel_hf.neighbors.cosines import Rows, Vectors, nearest, rounded
from meddel_hf.runtime.progress import tqdm


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

    def greedy(self, eta: float, limit: int | None = None) -> Pass:
        return self._pass("greedy", eta, limit)

    def semdedup(self, eta: float, limit: int | None = None) -> Pass:
        return self._pass("semdedup", eta, None)

    def _pass(self, rule: Rule, eta: float, limit: int | None) -> Pass:
        stays = np.zeros(len(self._order), bool)
        count = seen = 0
        for piece, vectors in self._in_turn("selecting"):
            part, groups, near = slice(piece.start, piece.stop), piece.groups, np.zeros(len(vectors), bool)
            if piece.large is not None and piece.large.start < piece.start:
                earlier = np.arange(piece.large.start, piece.start)
                near = self._any_above(vectors, earlier[stays[earlier]] if rule == "greedy" else earlier, eta)
                groups = [np.flatnonzero(~near)] if rule == "greedy" else groups
            here = apply(BlockEngine(vectors, groups), rule, eta, None if limit is None else limit - count)
            stays[part] = here.kept & ~near
            count += int(stays[part].sum())
            if not here.complete:
                seen += int(np.flatnonzero(here.kept)[-1]) + 1
                return Pass(self._by_row(stays, False), count, False, seen / len(self._order))
            seen += len(vectors)
        return Pass(self._by_row(stays, False), count)

    def nearest_kept(self, kept: NDArray[np.bool_]) -> tuple[Rows, NDArray[np.float32]]:
        stays = kept[self._order]
        where, similarity = np.full(len(stays), -1, np.int64), np.full(len(stays), -2, np.float32)
        for piece, vectors in self._in_turn("naming duplicates"):
            part = slice(piece.start, piece.stop)
            if piece.large is None:
                at, similarity[part] = BlockEngine(vectors, piece.groups).nearest_kept(stays[part])
                where[part] = np.where(at < 0, -1, at + piece.start)
            else:
                goes = np.flatnonzero(~stays[part])
                near = self._nearest(vectors, goes, piece.large.start + np.flatnonzero(stays[piece.large]))
                where[piece.start + goes], similarity[piece.start + goes] = near
        rows = np.where(where < 0, -1, self._order[where])
        return self._by_row(rows, -1), self._by_row(similarity, -2)

    def _nearest(self, vectors: Vectors, rows: Rows, places: Rows) -> tuple[Rows, NDArray[np.float32]]:
        """Of each of `rows`: the place among `places`, ascending, of greatest cosine, and that; -1 and -2 of none."""
        at, best = np.full(len(rows), -1, np.int64), np.full(len(rows), -2, np.float32)
        for part, others in self._slabs(places):
            near, value = nearest(vectors, rows, others, np.arange(len(part)), best)
            better = value > best  # so that equals stay with the earlier one
            at[better], best[better] = part[near[better]], value[better]
        return at, best

    def _any_above(self, vectors: Vectors, places: Rows, eta: float) -> NDArray[np.bool_]:
        """For each row: is its cosine with any row of these places above eta? (len(vectors),) bool."""
        near = np.zeros(len(vectors), bool)
        for _, others in self._slabs(places):
            asked = np.flatnonzero(~near)
            floor = np.full(len(asked), rounded(eta))
            near[asked] = nearest(vectors, asked, others, np.arange(len(others)), floor)[1] > floor
        return near

    def _slabs(self, places: Rows) -> Iterator[tuple[Rows, Vectors]]:
        for start in range(0, len(places), self._rows):
            part = places[start : start + self._rows]
            yield part, Vectors.prepare(self.scratch.take(part))

    def _in_turn(self, what: str) -> Iterator[tuple[_Piece, Vectors]]:
        bar = tqdm(total=len(self._order), desc=what, unit="row", delay=5, leave=False)
        with bar:
            for piece in self._pieces:
                yield piece, self.scratch.vectors(piece.start, piece.stop)
                bar.update(piece.stop - piece.start)

    def _by_row(self, of_places: NDArray, otherwise: float) -> NDArray:  # type: ignore[type-arg]
        answer = np.full(self.n, otherwise, of_places.dtype)
        answer[self._order] = of_places
        return answer


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
