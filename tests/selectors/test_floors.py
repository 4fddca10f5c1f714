"""Floors against their definition, one row after another."""

from __future__ import annotations

import numpy as np
import pytest

from meddel_hf.errors import InvalidArgument
from meddel_hf.selectors.floors import Floor, lifted


def columns(n: int, seed: int) -> list[tuple[list[str | None], int]]:
    """(values of n rows, floor) of two columns; some rows have no value, some values have few rows."""
    rng = np.random.default_rng(seed)
    site = [None if v > 8 else f"site {v}" for v in rng.zipf(1.6, n)]
    label = [None if v == 0 else "abc"[v - 1] for v in rng.choice(4, n, p=[0.5, 0.4, 0.08, 0.02])]
    return [(site, 3), (label, 4)]


def by_definition(drawn: np.ndarray, wishes: list[tuple[list[str | None], int]], seed: int) -> np.ndarray:
    """The first row, in a random order, of those that serve most floors comes in, again and again; then the first rows
    go, in that order, whose values all keep their floors without them."""
    order, kept = np.random.default_rng(seed).permutation(len(drawn)), set(np.flatnonzero(drawn).tolist())

    def has(values: list[str | None], value: str | None, rows: set[int]) -> int:
        return sum(values[row] == value for row in rows)

    def lacks(row: int, rows: set[int]) -> int:
        everyone = set(range(len(drawn)))
        return sum(
            values[row] is not None and has(values, values[row], rows) < min(wish, has(values, values[row], everyone))
            for values, wish in wishes
        )

    while True:
        serves = [lacks(row, kept) if row not in kept else 0 for row in order.tolist()]
        if not any(serves):
            break
        kept.add(int(order[int(np.argmax(serves))]))
    for row in order[drawn[order]].tolist():
        if len(kept) == drawn.sum():
            break
        if lacks(row, kept - {row}) == 0:
            kept.remove(row)
    answer = np.zeros(len(drawn), bool)
    answer[sorted(kept)] = True
    return answer


@pytest.mark.parametrize("seed", range(8))
def test_what_comes_and_goes_is_what_the_definition_says(seed):
    wishes = columns(90, seed)
    drawn = np.zeros(90, bool)
    drawn[np.random.default_rng(seed + 100).permutation(90)[:40]] = True
    floors = [Floor.of(f"column {k}", values, wish) for k, (values, wish) in enumerate(wishes)]
    expected = by_definition(drawn, wishes, seed)
    kept = lifted(drawn, floors, seed)
    assert np.array_equal(kept, expected)
    assert kept.sum() == 40
    assert not any(floor.missing(kept).any() for floor in floors)


def test_floors_that_ask_for_too_much_say_how_many_rows_they_need():
    drawn = np.arange(30) < 4
    with pytest.raises(
        InvalidArgument, match=r"the floors \(2 per site\) need 12 rows, 8 more than the 4 that are to be kept"
    ):
        lifted(drawn, [Floor.of("site", [f"s{row % 6}" for row in range(30)], 2)], 0)


def test_many_values_take_no_time_each():
    """20,000 videos of 200,000 frames: what was counted anew for each took 40 seconds."""
    rng = np.random.default_rng(0)
    values = [f"video {number}" for number in rng.integers(0, 20_000, 200_000)]
    drawn = np.zeros(200_000, bool)
    drawn[rng.permutation(200_000)[:30_000]] = True
    floor = Floor.of("group", values, 1)
    kept = lifted(drawn, [floor], 0)
    assert kept.sum() == 30_000
    assert len({value for value, stays in zip(values, kept, strict=True) if stays}) == len(set(values))
