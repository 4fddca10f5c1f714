"""Checks of arguments that several selectors have: each passes in silence, or raises a sentence."""

from __future__ import annotations

from typing import Any

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.checks import choice, count, fraction, is_number, is_whole, seed
from meddel_hf.runtime.reading import shown

__all__ = ["choice", "clusters", "count", "fraction", "is_number", "is_whole", "seed"]


def clusters(value: Any) -> None:
    """ "auto" or a whole number of at least 1."""
    if value != "auto" and not (is_whole(value) and value >= 1):
        raise InvalidArgument(f"n_clusters must be 'auto' or a number of at least 1, got {shown(value)}")
