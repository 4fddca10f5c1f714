"""For the site: lists of names in docstrings, `eta: cosine above which ...`, become lists in Markdown."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

_ITEM = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*):\s+(.*)$")  # also "beta1, beta2: of AdamW"


class DocstringLists(Extension):
    """Read by mkdocstrings, which knows the package from its files alone: nothing of it is imported."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_lists(obj.docstring.value)


def as_lists(docstring: str) -> str:
    """The same docstring; each paragraph that begins with `name: ` is a list in Markdown, an item for each name."""
    return "\n\n".join(_listed(paragraph) for paragraph in docstring.split("\n\n"))


def _listed(paragraph: str) -> str:
    lines = paragraph.splitlines()
    if not lines or not _ITEM.match(lines[0]):
        return paragraph
    items: list[str] = []
    after: list[str] = []  # what stands below the list without a gap, such as "Raises ..."
    for line in lines:
        item = _ITEM.match(line)
        if item and not after:
            names = ", ".join(f"`{name}`" for name in item[1].split(", "))
            items.append(f"- {names}: {item[2]}")
        elif line.startswith(" ") and not after:
            items[-1] += f" {line.strip()}"
        else:
            after.append(line)
    return "\n".join(items) + ("\n\n" + "\n".join(after) if after else "")
