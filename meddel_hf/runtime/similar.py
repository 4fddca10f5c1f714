"""Which of the known names is meant by one that is written in another way, or mistyped."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

Known = TypeVar("Known")


def composed(text: str) -> str:
    """Letters with their marks as one character each, by which names that look alike are alike.

    macOS stores the ü of a file's name as u and two dots; what is typed, or stands in a table, has it as one character.
    """
    return unicodedata.normalize("NFC", text)


def with_composed(known: Mapping[str, Known]) -> dict[str, Known]:
    """What is known by names, found by each name as it is, and by the same with its letters `composed`."""
    return {**{composed(name): value for name, value in known.items()}, **known}


def did_you_mean(typed: object, names: Iterable[object]) -> str:
    """The end of a sentence, such as "; did you mean 'select'?"; nothing where no name is like what was typed."""
    from difflib import get_close_matches  # needed only where something is mistyped

    if not isinstance(typed, str):
        return ""
    known = {str(name).lower(): str(name) for name in names}
    close = get_close_matches(typed.lower(), known, n=1)
    return f"; did you mean {known[close[0]]!r}?" if close else ""


def meant_beside(path: Path, *, folders: bool = False) -> str:
    """`did_you_mean`, of a path that does not exist, among what stands beside it; folders: among those alone."""
    if not path.parent.is_dir():
        return ""
    return did_you_mean(path.name, [each.name for each in path.parent.iterdir() if each.is_dir() or not folders])
