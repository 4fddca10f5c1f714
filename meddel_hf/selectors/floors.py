"""Floors: no value of a column keeps fewer rows than so many, or than it has; the number of rows stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.reading import printable
from meddel_hf.runtime.words import first_of


@dataclass(frozen=True, eq=False)
class Floor:
    """A column's floor, over n rows.

    value: (n,) int64, number of each row's value in `names`; -1 where it has none: nothing is promised to those.
    least: (k,) int64, rows of each value that stay at least: the floor, or all that it has.
    wish:  the floor as it was asked for.
    """

    column: str
    names: list[str]
    value: NDArray[np.int64]
    least: NDArray[np.int64]
    wish: int

    @classmethod
    def of(cls, column: str, values: Sequence[str | None], wish: int, every: Sequence[str | None] = ()) -> Floor:
        """values: of each row, as `strata` gives them. every: those of the whole pool, of which no row may be here."""
        names = sorted({each for each in (*values, *every) if each is not None})
        number = {name: place for place, name in enumerate(names)}
        value = np.array([-1 if each is None else number[each] for each in values], np.int64)
        has = np.bincount(value[value >= 0], minlength=len(names))
        return cls(column, names, value, np.minimum(has, wish), wish)

    def missing(self, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(k,) rows that each value lacks."""
        lacking: NDArray[np.int64] = np.maximum(self.least - self._counts(kept), 0)
        return lacking

    def spare(self, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(k,) rows that each value has above its floor."""
        return self._counts(kept) - self.least

    def shortfalls(self) -> Iterator[str]:
        """A sentence where values have fewer rows than the floor asks for."""
        each = zip(self.names, self.least, strict=True)
        few = [f"{printable(name)} ({least})" for name, least in each if least < self.wish]
        if few:
            yield (
                f"{self.column}: {first_of(few, 5)} have fewer than {self.wish} distinct frames; all of those are kept"
            )

    def _counts(self, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        here = self.value[kept]
        counts: NDArray[np.int64] = np.bincount(here[here >= 0], minlength=len(self.names))
        return counts


def lifted(drawn: NDArray[np.bool_], floors: Sequence[Floor], seed: int) -> NDArray[np.bool_]:
    """As many rows as were drawn, all floors kept: rows come in for values that lack some, others go at random.

    drawn: (n,) bool. What comes in is drawn at random, rows first that serve more floors at once; what goes is drawn at
    random among rows whose values all have rows to spare. Raises InvalidArgument where the floors need more rows.
    """
    kept = raised(drawn, floors, seed, np.zeros(len(drawn), bool))
    if kept.sum() > drawn.sum():
        needed, wanted = int(kept.sum()), int(drawn.sum())
        asked = ", ".join(f"{floor.wish} per {floor.column}" for floor in floors)
        raise InvalidArgument(
            f"the floors ({asked}) need {needed:,} rows, {needed - wanted:,} more than the {wanted:,} that are to be "
            "kept: lower them, or keep more"
        )
    return kept


def raised(drawn: NDArray[np.bool_], floors: Sequence[Floor], seed: int, stays: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """As `lifted`, and more rows than were drawn where the floors need them. stays: (n,) drawn rows that never go."""
    order = np.random.default_rng(seed).permutation(len(drawn))
    kept = drawn.copy()
    lacking = [floor.missing(kept) for floor in floors]
    # A row can only come to serve fewer floors: so one walk finds all that serve so many.
    for serves in range(len(floors), 0, -1):
        for row in order[~kept[order]] if any(counts.any() for counts in lacking) else ():
            here = [(counts, floor.value[row]) for floor, counts in zip(floors, lacking, strict=True)]
            served = [(counts, value) for counts, value in here if value >= 0 and counts[value] > 0]
            if len(served) == serves:
                kept[row] = True
                for counts, value in served:
                    counts[value] -= 1
    come = int(kept.sum() - drawn.sum())
    spare, over = [floor.spare(kept) for floor in floors], come
    for row in order[(drawn & ~stays)[order]] if over else ():
        here = [
            (counts, floor.value[row]) for floor, counts in zip(floors, spare, strict=True) if floor.value[row] >= 0
        ]
        if all(counts[value] > 0 for counts, value in here):
            kept[row], over = False, over - 1
            for counts, value in here:
                counts[value] -= 1
            if not over:
                break
    return kept
