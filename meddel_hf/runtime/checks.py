"""Checks of arguments: each passes in silence, or raises InvalidArgument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.reading import shown

MOST = 10**9  # of what is counted
MOST_PROCESSES = 1024
LARGEST_SIDE, LARGEST_BATCH = 16_384, 1 << 20  # pixels, frames in one step of a training
MOST_DRAWS = 1_000_000  # of a bootstrap
MOST_SEED = 2**32 - 1  # numpy's legacy generator, which transformers seeds, takes no greater one
_KINDS = {NoneType: "nothing", int: "a whole number", float: "a number", bool: "true or false", str: "text"}


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


def fraction(name: str, value: Any) -> None:
    """In (0, 1]."""
    if not (is_number(value) and 0 < value <= 1):
        raise InvalidArgument(f"{name} must be a fraction in (0, 1], got {shown(value)}")


def within(name: str, value: Any, low: float, high: float) -> None:
    """A number from low to high, both included; NaN is none."""
    if not (is_number(value) and low <= value <= high):
        raise InvalidArgument(f"{name} must be from {low:g} to {high:g}, got {shown(value)}")


def choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise InvalidArgument(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")


def types(record: Any) -> None:
    """Every field of a dataclass has a value of its declared kind: plain types, options of text, or nothing."""
    kinds = get_type_hints(type(record))
    for field in fields(record):
        _fits(field.name, getattr(record, field.name), kinds[field.name])


def _fits(name: str, value: Any, kind: Any) -> None:
    options = get_args(kind)
    if options and all(isinstance(option, str) for option in options):
        choice(name, value, options)
        return
    allowed = tuple(options) or (kind,)
    as_number = float in allowed and is_number(value)
    if not (as_number or isinstance(value, allowed)) or (isinstance(value, bool) and bool not in allowed):
        words = " or ".join(_KINDS.get(one, str(one)) for one in allowed)
        raise InvalidArgument(f"{name} must be {words}, got {shown(value)}")
