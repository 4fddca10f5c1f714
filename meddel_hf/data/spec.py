"""How a pool is named: "path", "path:config", "path@split" or "path:config@split"; a Hub id is a path too."""

from __future__ import annotations

from pathlib import Path


def parse_spec(spec: str) -> tuple[str, str | None, str | None]:
    """(path, config or None, split or None)."""
    rest, split = _cut(spec, "@")
    path, config = _cut(rest, ":")
    return path, config, split


def _cut(text: str, mark: str) -> tuple[str, str | None]:
    """What stands before and after the last mark; a path that exists is not cut."""
    before, cut, after = text.rpartition(mark)
    return (before, after) if cut and not Path(text).exists() else (text, None)
