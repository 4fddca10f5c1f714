"""Which row of a pool a user means: by id, row number, the path of its file, or the end of its id."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import PurePath
from typing import SupportsIndex

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.reading import printable, shown, some_of
from meddel_hf.runtime.similar import composed, did_you_mean

_NAMED = 3  # ids that an error names
_COMPARED = 20_000  # ids that are compared with a mistyped one: a second


def row_named(ids: Sequence[str], which: str | SupportsIndex | PurePath) -> int:
    """The row, from 0; an id goes before a row number, and both before a path and the end of an id.

    ids: of every row of the pool. Raises InvalidArgument where no row is meant, or several.
    """
    if not isinstance(which, str | PurePath):
        return _at(ids, which)
    text = str(which)
    if text in ids:
        return ids.index(text)
    if text.isdecimal() and text.isascii():
        return _at(ids, int(text))
    rows = _of_path(ids, text) or _ending(ids, text) or _alike(ids, text)
    if len(rows) == 1:
        return rows[0]
    if rows:
        named = some_of([ids[row] for row in rows], _NAMED)
        raise InvalidArgument(f"{shown(text)} may be any of {len(rows):,} frames, {named}: name more of the id")
    raise InvalidArgument(
        f"id {shown(text)} is not in the pool of this selection ({len(ids):,} rows){_meant(ids, text)}"
    )


def _at(ids: Sequence[str], row: SupportsIndex) -> int:
    try:
        number = operator.index(row)
    except TypeError as error:
        raise InvalidArgument(f"a frame is named by its id, row number or path, got {shown(row)}") from error
    if not 0 <= number < len(ids):
        raise InvalidArgument(f"the pool of this selection has rows 0 to {len(ids) - 1:,}, got {number}")
    return number


def _of_path(ids: Sequence[str], text: str) -> list[int]:
    """Rows whose id is the path of a file without its suffix, or the end of that; the longest id counts."""
    whole = f"/{_without_suffix(text)}"
    known = [row for row, id in enumerate(ids) if whole.endswith(f"/{id}")]
    longest = max((len(ids[row]) for row in known), default=0)
    return [row for row in known if len(ids[row]) == longest]


def _ending(ids: Sequence[str], text: str) -> list[int]:
    """Rows whose id ends so: at the bounds of a folder's name where some do, else anywhere."""
    ends = [end for end in {text, _without_suffix(text)} if end]
    at_bounds = [row for row, id in enumerate(ids) if any(id.endswith(f"/{end}") for end in ends)]
    return at_bounds or [row for row, id in enumerate(ids) if any(id.endswith(end) for end in ends)]


def _alike(ids: Sequence[str], text: str) -> list[int]:
    """Rows whose id reads the same, an ü in one character or two."""
    names = {composed(text), composed(_without_suffix(text))}
    return [row for row, id in enumerate(ids) if composed(id) in names]


def _without_suffix(text: str) -> str:
    path = PurePath(text)
    return path.with_suffix("").as_posix() if path.name else text


def _meant(ids: Sequence[str], text: str) -> str:
    """Ids that hold what was typed; else the one most like it, by its last part where a folder is not typed."""
    holding = [id for id in ids if text in id] if text else []
    if holding:
        named = ", ".join(map(printable, holding[:_NAMED]))
        return f"; {len(holding):,} ids hold it, such as {named}" if len(holding) > 1 else f"; did you mean {named}?"
    few = ids[:_COMPARED]
    if "/" in text:
        return did_you_mean(_without_suffix(text), few)
    last = {id.rpartition("/")[2]: id for id in few}
    meant = did_you_mean(_without_suffix(text), last)
    return next((f"; did you mean {id!r}?" for name, id in last.items() if meant == f"; did you mean {name!r}?"), "")
