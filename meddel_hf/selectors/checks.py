"""Checks of arguments that several selectors have: each passes in silence, or raises a sentence."""

from __future__ import annotations

from typing import Any

from meddel_hf.errors import InvalidArgument


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def fraction(name: str, value: Any) -> None:
    """In (0, 1]."""
    if not (is_number(value) and 0 < value <= 1):
        raise InvalidArgument(f"{name} must be a fraction in (0, 1], got {value!r}")


def count(name: str, value: Any, least: int) -> None:
    """A whole number of at least `least`."""
    if not (is_number(value) and isinstance(value, int) and value >= least):
        raise InvalidArgument(f"{name} must be a whole number of at least {least}, got {value!r}")


def clusters(value: Any) -> None:
    """ "auto" or a whole number of at least 1."""
    if value != "auto" and not (is_number(value) and isinstance(value, int) and value >= 1):
        raise InvalidArgument(f"n_clusters must be 'auto' or a number of at least 1, got {value!r}")


def choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidArgument(f"{name} must be one of {', '.join(choices)}, got {value!r}")
