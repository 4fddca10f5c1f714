"""Which of the known names a mistyped one may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(typed: object, names: Iterable[object], before: str = "; ") -> str:
    """The end of a sentence, such as "; did you mean 'select'?"; nothing where no name is like what was typed."""
    from difflib import get_close_matches  # needed only where something is mistyped

    if not isinstance(typed, str):
        return ""
    known = {str(name).lower(): str(name) for name in names}
    close = get_close_matches(typed.lower(), known, n=1)
    return f"{before}did you mean {known[close[0]]!r}?" if close else ""
