"""Blocks of rows against what is kept, by several processes that share the work through a folder.

Groups that never meet are shared out whole, the dear ones first: one of m rows is taken to cost m² / 2 comparisons. One
group that is most of the work, such as the whole pool, is cut: one stretch of keep order after another is compared with
all that was kept before it, each process taking some of its rows; what is left of the stretch is thinned by each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.block_engine import BlockEngine
from meddel_hf.dedup.passes import Thinned, thinned_in_two
from meddel_hf.neighbors.cosines import BLOCK, TILE, Rows, Vectors, nearest, rounded
from meddel_hf.neighbors.device.above import any_above
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.shared_work import Arrays, cut, digest_of, in_parts, shared_work
from meddel_hf.runtime.threads import own_threads

_LARGE = 8 * BLOCK  # rows of a group from which it is cut, where it is a sixteenth of all comparisons too
_STRETCHES = 16  # of a group that is cut, about
_ROWS = 128  # that a thread compares at once, at least


def engine_of(vectors: Vectors, groups: Sequence[Rows]) -> BlockEngine:
    """The engine that shares its work where there is somebody to share it with."""
    return BlockEngine(vectors, groups) if shared_work() is None else SharedEngine(vectors, groups)


class SharedEngine(BlockEngine):
    """As `BlockEngine`, to the bit."""

    @cached_property
    def _costs(self) -> NDArray[np.float64]:
        sizes = np.array(list(map(len, self.groups)), np.float64)
        return sizes * sizes / 2 * self.vectors.dim

    @cached_property
    def _is_cut(self) -> NDArray[np.bool_]:
        """(groups,): which are shared out by rows."""
        sizes = np.array(list(map(len, self.groups)))
        answer: NDArray[np.bool_] = (sizes >= _LARGE) & (16 * self._costs > self._costs.sum())
        return answer

    @cached_property
    def _question(self) -> str:
        """Digest of the rows and how they are grouped."""
        sizes = np.array(list(map(len, self.groups)), np.int64)
        return digest_of(self.vectors.digest, sizes, np.concatenate(self.groups))

    def thinned(self, eta: float) -> Thinned:
        return super().thinned(eta) if shared_work() is None else thinned_in_two(self, eta)

    @contextmanager
    def _greedy_answers(self, eta: float, limit: int | None, bar: tqdm) -> Iterator[Iterator[NDArray[np.bool_]]]:
        if shared_work() is None or rounded(eta) >= 1:
            with super()._greedy_answers(eta, limit, bar) as answers:
                yield answers
        else:
            yield self._greedy_shared(eta, limit, bar)

    def _greedy_shared(self, eta: float, limit: int | None, bar: tqdm) -> Iterator[NDArray[np.bool_]]:
        def stays(groups: Sequence[Rows]) -> NDArray[np.bool_]:
            kept = BlockEngine(self.vectors, groups).greedy(eta, limit).kept
            return kept[np.concatenate(groups)]

        in_turn = limit is not None and not self._is_cut.any()
        whole = self._of_whole_groups("selecting", ("greedy", float(rounded(eta)), limit), stays, in_turn)
        for order, is_cut in zip(self.groups, self._is_cut, strict=True):
            yield self._greedy_by_stretches(order, eta, limit) if is_cut else next(whole)
            bar.update(len(order))

    def _of_whole_groups(
        self,
        name: str,
        question: tuple[object, ...],
        answer: Callable[[Sequence[Rows]], NDArray[Any]],
        in_turn: bool = False,
    ) -> Iterator[NDArray[Any]]:
        """answer(groups), along their rows, of each group that is not cut, in order."""
        numbers = np.flatnonzero(~self._is_cut)
        groups = [self.groups[number] for number in numbers.tolist()]
        parts = cut(self._costs[numbers])
        work = shared_work()

        def of_part(part: int) -> Arrays:
            return {"of rows": answer(groups[parts[part]])}

        if work is None or len(parts) < 2:
            answers: Iterator[Arrays] = (of_part(part) for part in range(len(parts) if groups else 0))
        else:
            dear = [float(self._costs[numbers][part].sum()) for part in parts]
            answers = work.answers(name, digest_of(self._question, *question), dear, of_part, in_turn)
        for part, there in zip(parts, answers, strict=False):
            bounds = np.cumsum(list(map(len, groups[part])))[:-1]
            yield from np.split(there["of rows"], bounds)

    def _greedy_by_stretches(self, order: Rows, eta: float, room: int | None) -> NDArray[np.bool_]:
        stays = np.zeros(len(order), bool)
        length = -(-len(order) // (_STRETCHES * BLOCK)) * BLOCK
        for start in range(0, len(order), length):
            kept = order[stays]
            free = start + self._free_of(order[start : start + length], kept, eta)
            left = None if room is None else room - len(kept)
            stays[free] = self._greedy_in(order[free], eta, left, tqdm(disable=True))
            if room is not None and int(stays[free].sum()) > room - len(kept):
                break
        return stays

    def _free_of(self, rows: Rows, kept: Rows, eta: float) -> Rows:
        """Positions in `rows` of those that no kept one is above eta to; each process looks at some."""

        def question() -> str:
            return digest_of("free", self.vectors.digest, rows, kept, float(rounded(eta)))

        def answer(part: slice) -> Arrays:
            return {"near": self._near(rows[part], kept, eta)}

        cost = float(len(kept)) * self.vectors.dim
        return np.flatnonzero(~in_parts("selecting", question, len(rows), cost, answer, BLOCK)["near"])

    def _near(self, rows: Rows, kept: Rows, eta: float) -> NDArray[np.bool_]:
        """(len(rows),): is the cosine with any kept row above eta?"""
        near = np.zeros(len(rows), bool)
        if self.vectors.device is not None:
            return any_above(self.vectors.device, rows, kept, eta)
        tier = self.vectors.cheapest
        with own_threads() as threads:
            for start in range(0, len(kept), TILE):
                cols, asked = kept[start : start + TILE], np.flatnonzero(~near)
                if not len(asked):
                    break
                panel = self.vectors.panel(cols, tier)

                def look(part: slice, cols: Rows = cols, asked: Rows = asked, panel: object = panel) -> Rows:
                    some = asked[part]
                    return some[self.vectors.any_above(rows[some], cols, eta, tier, panel)]  # type: ignore[arg-type]

                step = min(BLOCK, max(_ROWS, -(-len(asked) // threads.count)))
                for hit in threads.map(look, [slice(at, at + step) for at in range(0, len(asked), step)]):
                    near[hit] = True
        return near

    @cached_property
    def _earlier(self) -> NDArray[np.float32]:
        if shared_work() is None:
            return BlockEngine(self.vectors, self.groups)._earlier
        result = np.full(len(self.vectors), -2, np.float32)
        whole = self._of_whole_groups(
            "comparing", ("earlier",),
            lambda groups: BlockEngine(self.vectors, groups)._earlier[np.concatenate(groups)],
        )  # fmt: skip
        for order, is_cut in zip(self.groups, self._is_cut, strict=True):
            result[order] = self._earlier_by_blocks(order) if is_cut else next(whole)
        return result

    def _earlier_by_blocks(self, order: Rows) -> NDArray[np.float32]:
        """Greatest cosine of each row with an earlier one; of two blocks, one early and one late, together."""
        count = -(-len(order) // BLOCK)
        turn = np.array([block for early in range(-(-count // 2)) for block in sorted({early, count - 1 - early})])
        rows = np.concatenate([np.arange(block * BLOCK, min((block + 1) * BLOCK, len(order))) for block in turn])

        def question() -> str:
            return digest_of("earlier", self.vectors.digest, order)

        def answer(part: slice) -> Arrays:
            return {"best": np.concatenate([self._earlier_of(order, places) for places in _runs(rows[part])])}

        cost = len(order) / 2 * self.vectors.dim
        best = np.empty(len(order), np.float32)
        best[rows] = in_parts("comparing", question, len(rows), cost, answer, BLOCK)["best"]
        return best

    def _earlier_of(self, order: Rows, places: slice) -> NDArray[np.float32]:
        """Of the rows at some places, a block at most."""
        block = order[places]
        inside = self.vectors.exact_tile(block, self.vectors, block)
        inside[np.triu_indices(len(block))] = -2
        return nearest(self.vectors, block, self.vectors, order[: places.start], inside.max(axis=1))[1]

    def name_kept(
        self, kept: NDArray[np.bool_], asked: NDArray[np.bool_], where: Rows, similarity: NDArray[np.float32]
    ) -> None:
        if shared_work() is None:
            super().name_kept(kept, asked, where, similarity)
            return

        def of_groups(groups: Sequence[Rows]) -> NDArray[np.float64]:
            at, cosine = np.full(len(kept), -1, np.int64), np.full(len(kept), -2, np.float32)
            BlockEngine(self.vectors, groups).name_kept(kept, asked, at, cosine)
            order = np.concatenate(groups)
            return np.stack([at[order].astype(np.float64), cosine[order]], axis=1)  # both are exact in float64

        whole = self._of_whole_groups("naming duplicates", ("named", kept, asked), of_groups)
        for order, is_cut in zip(self.groups, self._is_cut, strict=True):
            if is_cut:
                self._name_in(order, kept, asked, where, similarity)
            else:
                of_rows, goes = next(whole), asked[order]
                named = of_rows[goes & (of_rows[:, 0] >= 0)]
                rows = order[goes & (of_rows[:, 0] >= 0)]
                where[rows], similarity[rows] = named[:, 0].astype(np.int64), named[:, 1].astype(np.float32)

    def _name_in(
        self, order: Rows, kept: NDArray[np.bool_], asked: NDArray[np.bool_], where: Rows,
        similarity: NDArray[np.float32],
    ) -> None:  # fmt: skip
        stays, goes = order[kept[order]], order[asked[order]]
        if not len(stays) or not len(goes):
            return

        def question() -> str:
            return digest_of("named", self.vectors.digest, stays, goes)

        def answer(part: slice) -> Arrays:
            at, cosine = nearest(self.vectors, goes[part], self.vectors, stays)
            return {"at": at, "cosine": cosine}

        found = in_parts("naming duplicates", question, len(goes), float(len(stays)) * self.vectors.dim, answer)
        where[goes], similarity[goes] = stays[found["at"]], found["cosine"]


def _runs(places: Rows) -> list[slice]:
    """Blocks of consecutive places."""
    starts = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
    runs = [(int(places[a]), int(places[b - 1]) + 1) for a, b in pairwise(starts)]
    return [slice(at, min(at + BLOCK, stop)) for start, stop in runs for at in range(start, stop, BLOCK)]
