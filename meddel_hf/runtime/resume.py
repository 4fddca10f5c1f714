"""Is what stands in a folder the same work, and is any of it left? Every step that goes on, or reads, asks here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from meddel_hf.errors import Occupied
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.records import read_facts, write_facts

BEGUN = "begun.json"  # says what is being made, until the manifest does
ANOTHER_FOLDER = "choose another folder, or delete this one"


def state(folder: Path) -> Literal["finished", "begun", "new"]:
    """How far the work in a folder is; what stands there may be another step's: its manifest tells."""
    if (folder / MANIFEST).is_file():
        return "finished"
    return "begun" if (folder / BEGUN).is_file() else "new"


def begin(folder: Path, facts: Mapping[str, Any]) -> None:
    """Note what is being made in a folder."""
    write_facts(folder / BEGUN, facts)


def begun(folder: Path) -> dict[str, Any]:
    """What `begin` noted. Raises IncompleteStore where that is damaged."""
    return read_facts(folder / BEGUN, f"delete {folder} and run the same command again")


def check_same(
    folder: Path,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    happened: str = "was begun with",
    cure: str = ANOTHER_FOLDER,
) -> None:
    """Compare what a folder was made from with what is asked for: name -> plain value, such as {"seed": 0}.

    happened: "was begun with", "was made with" and so on. Raises Occupied that names the first difference.
    """
    for name in {**now, **before}:
        old, new = _as_read(before.get(name)), _as_read(now.get(name))
        if old != new:
            raise Occupied(f"{folder} {happened} another {name} ({difference(old, new)}): {cure}", folder)


def difference(before: Any, now: Any) -> str:
    """In words: "a, now b"; of two mappings only the entries that differ."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return ", ".join(f"{name} {before.get(name)!r}, now {now.get(name)!r}" for name in names)
    return f"{before!r}, now {now!r}"


def _as_read(value: Any) -> Any:
    """As it comes out of a file: tuples are lists there."""
    return json.loads(json.dumps(value))
