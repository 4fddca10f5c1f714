"""What commands print: data on stdout, words on stderr; the data as a table, or as JSON where `--json` is typed."""

from __future__ import annotations

import sys
from typing import Any

from meddel_hf.runtime.plain import plain


def say(line: str) -> None:
    """Words: what was written, what to do next, what to be careful of; after the data that was printed before."""
    sys.stdout.flush()
    print(line, file=sys.stderr)


def print_json(facts: Any) -> None:
    """Data as JSON: what is no number (NaN, infinity) is null, bytes are hex digits."""
    import json

    print(json.dumps(plain(facts), indent=2, ensure_ascii=False))
