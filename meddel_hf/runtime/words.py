"""Counts in words."""

from __future__ import annotations

from collections.abc import Sequence


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun: "1 seed", "3 seeds", "1,000 frames"; many: where it is not `one` with an s."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def is_or_are(n: int) -> str:
    """What follows a count: "1 of 5 frames is", "2 of 5 frames are", "0 of 5 frames are"."""
    return verb(n, "is", "are")


def first_of(words: Sequence[str], most: int) -> str:
    """The first of many, and how many more there are: "a, b, c and 1,234 more"."""
    return ", ".join(words[:most]) + (f" and {len(words) - most:,} more" if len(words) > most else "")


def verb(n: int, one: str, many: str) -> str:
    """What a count does: "1 of 5 intervals excludes zero", "2 of 5 intervals exclude zero"."""
    return one if n == 1 else many


def any_of(n: int, one: str, many: str | None = None) -> str:
    """All of a count in a sentence that denies: "the one test set", "any of 3 test sets"."""
    return f"the one {one}" if n == 1 else f"any of {plural(n, one, many)}"
