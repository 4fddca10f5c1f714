"""Checks of arguments: each passes in silence, or raises InvalidArgument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.reading import shown
from meddel_hf.runtime.similar import did_you_mean

MOST = 10**9  # of what is counted
MOST_PROCESSES = 1024
LARGEST_SIDE, LARGEST_BATCH = 16_384, 1 << 20  # pixels, frames in one step of a training
MOST_DRAWS = 1_000_000  # of an interval
MOST_SEED = 2**32 - 1  # numpy's legacy generator, which transformers seeds, takes no greater one


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def count(name: str, value: Any, least: int, most: int = MOST) -> None:
    """A whole number from `least` to `most`."""
    if not is_whole(value):
        raise InvalidArgument(f"{name} must be a whole number, got {shown(value)}")
    if value < least:
        raise InvalidArgument(f"{name} must be at least {least}, got {shown(value)}")
    if value > most:
        raise InvalidArgument(f"{name} must be at most {most:,}, got {shown(value)}")


def seed(value: Any, name: str = "seed") -> None:
    """A whole number from 0 to 2^32 - 1."""
    if not (is_whole(value) and 0 <= value <= MOST_SEED):
        raise InvalidArgument(f"{name} must be a whole number from 0 to {MOST_SEED}, got {shown(value)}")


def is_fraction(value: Any) -> bool:
    """In (0, 1]: what a retention is."""
    return is_number(value) and 0 < value <= 1


def fraction(name: str, value: Any) -> None:
    """In (0, 1]."""
    if not is_fraction(value):
        raise InvalidArgument(f"{name} must be a fraction in (0, 1], got {shown(value)}{_as_fraction(value)}")


def _as_fraction(value: Any) -> str:
    """What to write for a percentage, such as 5 or "5%"; nothing for what is none."""
    try:
        share = float(str(value).strip().removesuffix("%")) / 100
    except ValueError:
        return ""
    is_share = 0 < share <= 1 and ("%" in str(value) or share > 0.01)
    return f": write {share:g} for {100 * share:g} %" if is_share else ""


def within(name: str, value: Any, low: float, high: float) -> None:
    """A number from low to high, both included; NaN is none."""
    if not (is_number(value) and low <= value <= high):
        raise InvalidArgument(f"{name} must be from {low:g} to {high:g}, got {shown(value)}")


def choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise InvalidArgument(
            f"{name} must be one of {', '.join(choices)}, got {shown(value)}{did_you_mean(value, choices)}"
        )
