"""Checks of arguments that several selectors have: each passes in silence, or raises a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.checks import choice, count, fraction, is_number, is_whole, seed
from meddel_hf.runtime.free_memory import AUTO
from meddel_hf.runtime.reading import shown
from meddel_hf.runtime.sizes import bytes_of

__all__ = [
    "choice",
    "clusters",
    "columns",
    "common",
    "count",
    "counts",
    "eta",
    "flag",
    "fraction",
    "is_number",
    "is_whole",
    "memory",
    "seed",
]


def plain(selector: Any) -> None:
    """Put Python's numbers in the place of numpy's, such as a seed out of np.arange, in the fields of a selector."""
    for field in fields(selector):
        object.__setattr__(selector, field.name, _plain(getattr(selector, field.name)))


def common(selector: Any) -> None:
    """`plain`, and what most selectors have: a retention, a seed, and `subtract_mean` where they compare rows."""
    plain(selector)
    fraction("retention", selector.retention)
    seed(selector.seed)
    flag("subtract_mean", getattr(selector, "subtract_mean", False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def clusters(value: Any) -> None:
    """ "auto" or a whole number of at least 1."""
    if not (_is(value, "auto") or (is_whole(value) and value >= 1)):
        raise InvalidArgument(f"n_clusters must be 'auto' or a number of at least 1, got {shown(value)}")


def columns(name: str, value: Any) -> None:
    """The name of a column of the pool, or a list or tuple of several."""
    names = (value,) if isinstance(value, str) else value
    if not (isinstance(names, list | tuple) and names and all(isinstance(each, str) and each for each in names)):
        raise InvalidArgument(f"{name} must name columns of the pool, such as 'label', got {shown(value)}")


def counts(name: str, value: Any, example: str) -> None:
    """Column of the pool -> whole number of at least 1."""
    if not isinstance(value, Mapping) or not all(isinstance(column, str) and column for column in value):
        raise InvalidArgument(
            f"{name} must say of columns how many rows each value keeps, such as {example}, got {shown(value)}"
        )
    for column, rows in value.items():
        count(f"{name}[{column!r}]", rows, 1)


def eta(value: Any) -> None:
    """ "auto" or a cosine."""
    if not (_is(value, "auto") or (is_number(value) and -1 <= value <= 1)):
        raise InvalidArgument(f"eta must be 'auto' or a cosine in [-1, 1], got {shown(value)}")


def memory(value: Any) -> None:
    """None, "auto", or a size."""
    if value is not None and value != AUTO:
        bytes_of(value)


def flag(name: str, value: Any, word: str | None = None) -> None:
    """True or False, or the word; a number is neither."""
    if not (isinstance(value, bool) or (word is not None and _is(value, word))):
        raise InvalidArgument(f"{name} must be {f'{word!r}, ' if word else ''}true or false, got {shown(value)}")


def _is(value: Any, word: str) -> bool:
    return isinstance(value, str) and value == word
