"""Which rows are of one scene: links between near-duplicates say so, of which so many at a time are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meddel_hf.neighbors.float64 import Rows

Links = tuple[Rows, Rows]  # (m,) each: of pairs of near-duplicates, the row that stays and the one that goes
_PAIRS = 2**22  # that are compared at first, so that memory holds them even if all are near: some 200 MB with copies


class Scenes(NamedTuple):
    """apart: (n,) bool, rows that stay and share no near-duplicate with one of them that is earlier in keep order.
    scene:    (n,) int64, the same number of all rows that a chain of links joins: that of one of them.

    Two rows may both stay, just below eta, and be of one scene nevertheless: what is near to both says so.
    """

    apart: NDArray[np.bool_]
    scene: Rows


class Joining:
    """Scenes as links come in: all of a row that stays at once, and those of rows later in keep order later.

    kept: (n,) rows that stay. rank: (n,) place of each row in keep order.
    """

    def __init__(self, kept: NDArray[np.bool_], rank: Rows) -> None:
        self.scenes = Scenes(kept.copy(), np.arange(len(kept)))
        self._claimed, self._rank = np.zeros(len(kept), bool), rank

    def add(self, stays: Rows, goes: Rows) -> None:
        self._claim(stays, goes)
        self._join(stays, goes)

    def _claim(self, stays: Rows, goes: Rows) -> None:
        by_rank = np.argsort(self._rank[stays], kind="stable")
        ordered = stays[by_rank]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        for row, copies in zip(ordered[starts].tolist(), np.split(goes[by_rank], starts[1:]), strict=False):
            if self._claimed[copies].any():
                self.scenes.apart[row] = False
            else:
                self._claimed[copies] = True

    def _join(self, stays: Rows, goes: Rows) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        scene = self.scenes.scene
        numbers, at = np.unique(scene[np.concatenate([stays, goes])], return_inverse=True)
        ends = at[: len(stays)], at[len(stays) :]
        joined = coo_array((np.ones(len(stays), bool), ends), shape=(len(numbers), len(numbers)))
        component = connected_components(joined, directed=False)[1]
        _, first, of = np.unique(component, return_index=True, return_inverse=True)
        now = np.arange(len(scene))
        now[numbers] = numbers[first[of]]
        scene[:] = now[scene]


@dataclass(frozen=True, eq=False)
class Asked:
    """Of a group whose links are asked for: all rows that go, ascending, and some that stay, in keep order."""

    goes: Rows
    stays: Rows

    @property
    def pairs(self) -> int:
        return len(self.goes) * len(self.stays)


def in_portions(groups: Iterable[Asked], find: Callable[[Sequence[Asked]], Links]) -> Iterator[Links]:
    """What `find` answers about a few rows that stay after another, so many at a time as the links so far allow."""
    budget, portion, compared = _PAIRS, [], 0
    for group in groups:
        start = 0
        while start < len(group.stays) and len(group.goes):
            some = -(-(budget - compared) // len(group.goes))
            portion.append(Asked(group.goes, group.stays[start : start + some]))
            start, compared = start + some, compared + portion[-1].pairs
            if compared >= budget:
                links = find(portion)
                yield links
                budget = max(_PAIRS, min(8 * budget, compared * _PAIRS // (2 * len(links[0]) + 1)))
                portion, compared = [], 0
    if portion:
        yield find(portion)
