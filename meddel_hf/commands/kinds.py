"""Kinds of arguments, for argparse: each refuses in one sentence what a command could not use."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime import checks
from meddel_hf.runtime.free_memory import AUTO
from meddel_hf.runtime.reading import shown
from meddel_hf.runtime.sizes import bytes_of


def count(least: int = 0, most: int = checks.MOST) -> Callable[[str], int]:
    """A whole number from `least` to `most`."""

    def parse(text: str) -> int:
        value: int = _number(text, int, "a whole number")
        if not least <= value <= most:
            raise ArgumentTypeError(f"must be a whole number from {least:,} to {most:,}, got {shown(text)}")
        return value

    return parse


def seed(text: str) -> int:
    """A whole number from 0 to 2^32 - 1."""
    return count(0, checks.MOST_SEED)(text)


def number(low: float, high: float) -> Callable[[str], float]:
    """A number from low to high, both included."""

    def parse(text: str) -> float:
        value: float = _number(text, float, "a number")
        if not low <= value <= high:  # so that NaN fails too
            raise ArgumentTypeError(f"must be a number from {low:g} to {high:g}, got {shown(text)}")
        return value

    return parse


def fraction(text: str) -> float:
    """In (0, 1], also as a percentage, such as 5%."""
    plain = text.strip()
    number, divisor = (plain[:-1], 100) if plain.endswith("%") else (plain, 1)
    try:
        value = float(number) / divisor
    except ValueError:
        value = math.nan
    if not checks.is_fraction(value):
        meant = _fraction_meant(plain)
        raise ArgumentTypeError(f"must be a fraction in (0, 1], or a percentage such as 5%, got {shown(text)}{meant}")
    return value


def _fraction_meant(plain: str) -> str:
    """What a number above 1, or one with a decimal comma, may have meant."""
    point = plain.replace(",", ".", 1)
    try:
        value = float(point.rstrip("%"))
    except ValueError:
        return ""
    return f"; did you mean {point}{'%' if value > 1 and '%' not in point else ''}?" if 0 < value <= 100 else ""


def or_word(word: str, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """The word, or what `kind` takes; the word "none" stands for None."""
    return lambda text: (None if word == "none" else word) if text.lower() == word else kind(text)


def workers(text: str) -> int | str:
    """A number of processes, or "auto"."""
    return "auto" if text == "auto" else count(0, checks.MOST_PROCESSES)(text)


def text(value: str) -> str:
    """What names something: a pool, an encoder, a column."""
    if not value.strip() or "\0" in value:
        raise ArgumentTypeError(f"names nothing: {shown(value)}")
    return value


def column_and_count(value: str) -> tuple[str, int]:
    """A column of the pool and a number of frames, such as center=50."""
    column, _, rows = value.rpartition("=")
    if not column.strip():
        raise ArgumentTypeError(f"must be a column and a number, such as center=50, got {shown(value)}")
    return column, count(1)(rows)


def column_and_value(text: str) -> tuple[str, str]:
    """A column of the pool and one of its values, such as patient=p01."""
    column, _, value = text.partition("=")
    if not column.strip() or not value.strip():
        raise ArgumentTypeError(f"must be a column and a value, such as patient=p01, got {shown(text)}")
    return column.strip(), value.strip()


def memory(value: str) -> int | str | None:
    """Bytes, such as 4GB or 512MiB; or "auto"; or "none", for no bound."""
    answer: int | str | None = or_word("none", or_word(AUTO, _size))(value)
    return answer


def _size(value: str) -> int:
    try:
        return bytes_of(value)
    except InvalidArgument as error:
        raise ArgumentTypeError(f"must be a size such as 4GB or 512MiB, or none, got {shown(value)}") from error


def path(value: str) -> Path:
    """A file or folder. An empty one, as of a variable that the shell does not know, would be the working folder."""
    return Path(text(value))


def _number(value: str, kind: Callable[[str], Any], what: str) -> Any:
    try:
        return kind(value)
    except (ValueError, OverflowError) as error:
        raise ArgumentTypeError(f"must be {what}, got {shown(value)}") from error
