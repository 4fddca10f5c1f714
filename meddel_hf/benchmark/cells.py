"""Where a benchmark keeps things, and the cells of a plan in the order in which they are run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddel_hf.benchmark.place import FULL, UNTRAINED, Place, percent
from meddel_hf.benchmark.plan import Arm, Plan
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.records import read_facts

CELLS, CELL, GATE, PLAN = "cells", "cell.json", "gate.json", "plan.yaml"
POOL, EXCLUDED = "pool.parquet", "excluded.parquet"
SELECTION, PRETRAINING, TASKS = "selection", "pretraining", "tasks"
LABELS, CHOICES = "labels", "choices"  # RUNS/labels/<task>/choices: what tasks of kind labels write


@dataclass(frozen=True)
class CellPlan:
    """One cell: an arm (None: no selection), a retention (1: the full pool, 0: no pre-training) and a seed."""

    arm: Arm | None
    retention: float
    seed: int

    @property
    def label(self) -> str:
        return self.arm.label if self.arm else FULL if self.retention else UNTRAINED

    @property
    def place(self) -> Place:
        return Place(self.label, percent(self.retention), self.seed)

    def folder(self, runs: Path) -> Path:
        return runs / CELLS / self.label / percent(self.retention) / f"seed{self.seed}"


def gate_cells(plan: Plan) -> list[CellPlan]:
    """The dear ones first, so that shards share them out evenly."""
    return [CellPlan(None, retention, seed) for retention in (1.0, 0.0) for seed in plan.seeds]


def arm_cells(plan: Plan) -> list[CellPlan]:
    """A whole replicate after the other: an unfinished matrix lacks seeds, not selectors."""
    shares = [share for share in sorted(plan.retentions) if share < 1]
    return [CellPlan(arm, share, seed) for seed in plan.seeds for arm in plan.arms for share in shares]


@dataclass(frozen=True)
class Shard:
    """The i-th of n parts of the cells, from 1; parts share a folder of runs and never a cell."""

    index: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "2/8". Raises InvalidArgument for what is not i/n with 1 <= i <= n."""
        index, _, of = text.partition("/")
        if not (index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
            raise InvalidArgument(f"a shard is i/n with 1 <= i <= n, such as 2/8; got {text!r}")
        return cls(int(index), int(of))

    def part(self, cells: list[CellPlan]) -> list[CellPlan]:
        return cells[self.index - 1 :: self.of]


def read_json(path: Path) -> dict[str, Any]:
    """Facts of a benchmark; none where there is no file. Raises IncompleteStore where it is damaged."""
    cure = "copy it again, or delete it and run the same `meddel benchmark run` again"
    return read_facts(path, cure) if path.is_file() else {}


def is_finished(cell: CellPlan, runs: Path, plan: Plan) -> bool:
    """True where the cell's record names every task of the plan."""
    return {task.name for task in plan.trained_tasks} <= set(read_json(cell.folder(runs) / CELL).get("tasks", ()))
