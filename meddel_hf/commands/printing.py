"""What commands print: data on stdout, words on stderr; the data as a table, or as JSON where `--json` is typed."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any


def say(line: str) -> None:
    """Words: what was written, what to do next, what to be careful of."""
    print(line, file=sys.stderr)


def print_json(facts: Any) -> None:
    """Data as JSON: what is no number (NaN, infinity) is null, bytes are hex digits."""
    import json

    print(json.dumps(_plain(facts), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, PurePath):
        return str(value)
    return value.item() if hasattr(value, "item") else value
