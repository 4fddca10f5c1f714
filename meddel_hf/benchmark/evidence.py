"""What a finished cell records of itself: of which benchmark it is, what it was made from, and the files of its scores.

`cell.json` is written last, and carries a checksum. Cells that were run before there were records have none of this,
and are taken as they stand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddel_hf.benchmark.cells import CELL, SELECTION, TASKS
from meddel_hf.downstream.scores import FILE, Scores
from meddel_hf.errors import Mismatch
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest, fingerprint
from meddel_hf.runtime.records import Records, check_files, recorded_files

GROUND, PARENTS, FILES = "ground", "parents", "files"  # keys of cell.json


def ground(benchmark: Manifest) -> str | None:
    """Digest of what all cells of a benchmark share, however its plan grows: the pool, and how to pre-train on it."""
    if "pool" not in benchmark.parents or "pretraining" not in benchmark.arguments:
        return None
    recipe = json.dumps(benchmark.arguments["pretraining"], sort_keys=True)
    return fingerprint("ground", benchmark.parents["pool"], recipe)


def of_scores(cell: Path) -> Records:
    """Records of a cell's scores, those of encoders on the way included."""
    return recorded_files(cell, [path.relative_to(cell).as_posix() for path in (cell / TASKS).glob(f"*/{FILE}")])


def tasks_of(cell: Path, facts: Mapping[str, Any]) -> list[str]:
    """Names of a cell's tasks that have scores; with "@SAMPLES" those of encoders on the way."""
    if FILES in facts:
        return sorted(Path(name).parent.name for name in facts[FILES])
    return sorted(path.parent.name for path in (cell / TASKS).glob(f"*/{FILE}"))


def scores_of(cell: Path, facts: Mapping[str, Any], task: str, *, trust: bool = False) -> Scores:
    """Scores of a task, once their file is as the cell records it. Raises IncompleteStore where it is not."""
    name = f"{TASKS}/{task}/{FILE}"
    if name in facts.get(FILES, {}):
        check_files(cell, {name: facts[FILES][name]}, cure(cell), trust=trust)
    return Scores.load(cell / TASKS / task)


def cure(cell: Path) -> str:
    return f"copy it again, or delete {cell} and run the same `meddel benchmark run` again"


def check_cell(cell: Path, facts: Mapping[str, Any], benchmark: Manifest | None) -> None:
    """Raises Mismatch where a cell is of another benchmark, or holds another selection than it was made from."""
    if benchmark is not None and GROUND in facts:
        if facts[GROUND] != ground(benchmark):
            raise Mismatch(
                f"{cell / CELL} is of another benchmark than {cell.parents[3] / MANIFEST} (another pool, or another "
                "recipe): its scores cannot be compared with those of other cells; remove the cell"
            )
        wanted = benchmark.details.get("tasks", {})
        for task, identity in facts.get("tasks", {}).items():
            if wanted.get(task, identity) != identity:
                raise Mismatch(f"{cell / CELL} was tested on other frames in task {task!r}: {cure(cell)}")
    made_from = facts.get(PARENTS, {}).get("selection")
    if made_from is not None:
        there = Manifest.read(cell / SELECTION, "selection").fingerprint
        if there != made_from:
            raise Mismatch(
                f"{cell / SELECTION} is not the selection that {cell / CELL} was made from ({there}, expected "
                f"{made_from}): {cure(cell)}"
            )


def check_together(cells: Mapping[Path, Mapping[str, Any]]) -> None:
    """Raises Mismatch where selectors did not all see the same embeddings."""
    seen: dict[str, Path] = {}
    for cell, facts in cells.items():
        store = facts.get(PARENTS, {}).get("embeddings")
        if store is not None:
            seen.setdefault(store, cell)
    if len(seen) > 1:
        (store, one), (another, other) = list(seen.items())[:2]
        raise Mismatch(
            f"{one} and {other} were selected by different embeddings ({store} and {another}), so that their selectors "
            f"cannot be compared: remove one of them, and run the same `meddel benchmark run` again"
        )
