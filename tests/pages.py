"""What stands in a page of the documentation: its fenced blocks, in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the text of the ```text block that follows it at once, or None."""

    language: str
    text: str
    output: str | None


def blocks(page: str) -> list[Block]:
    """Every block of a page but those that show what the one before prints."""
    found = [(match[1], match[2], match.start(), match.end()) for match in _FENCE.finditer(text(page))]
    result = []
    for place, (language, body, _, end) in enumerate(found):
        after = found[place + 1] if place + 1 < len(found) else None
        follows = after is not None and after[0] == "text" and not text(page)[end : after[2]].strip()
        if language != "text":
            result.append(Block(language, body, after[1] if after is not None and follows else None))
    return result


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """What stands below a heading of the second level, up to the next one."""
    _, _, after = text(page).partition(f"\n## {heading}\n")
    return after.partition("\n## ")[0]
