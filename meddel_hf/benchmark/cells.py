"""Where a benchmark keeps things, and the cells of a plan in the order in which they are run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddel_hf.benchmark.place import DISTINCT, FULL, LADDER, UNTRAINED, Place, percent
from meddel_hf.benchmark.plan import Arm, Plan
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.records import read_facts

CELLS, CELL, GATE, PLAN = "cells", "cell.json", "gate.json", "plan.yaml"
DIVERGED = "diverged.json"  # in a cell's folder; goes before cell.json is written
POOL, EXCLUDED, REDUNDANCY = "pool.parquet", "excluded.parquet", "redundancy.json"
SELECTION, PRETRAINING, TASKS = "selection", "pretraining", "tasks"
MEASURES = "measures.json"  # in a cell's folder: what its selection covers, without training
RANDOM, DEDUP = "random", "dedup"  # names of selectors: the one that every other has to beat, and of "distinct"
LOCKS = ".locks"
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
    """Of the gate that is about learning: the dear ones first, so that shards share them out evenly."""
    return [CellPlan(None, retention, seed) for retention in (1.0, 0.0) for seed in plan.seeds]


def random_cells(plan: Plan) -> list[CellPlan]:
    """Random at the smallest retention: the plan's own arm where it has a plain one; none without a retention < 1."""
    plain = (arm for arm in plan.arms if arm.selector == RANDOM and not arm.options)
    arm = next(plain, Arm(LADDER, RANDOM))
    return [] if plan.smallest is None else [CellPlan(arm, plan.smallest, seed) for seed in plan.seeds]


def distinct_cells(plan: Plan, share: float | None) -> list[CellPlan]:
    """The pool without its near-duplicates, which keeps this share of it; None: not run."""
    return [] if share is None else [CellPlan(Arm(DISTINCT, DEDUP), share, seed) for seed in plan.seeds]


def arm_cells(plan: Plan) -> list[CellPlan]:
    """A whole replicate after the other: an unfinished matrix lacks seeds, not selectors."""
    shares = [share for share in sorted(plan.retentions) if share < 1]
    return [CellPlan(arm, share, seed) for seed in plan.seeds for arm in plan.arms for share in shares]


def read_json(path: Path) -> dict[str, Any]:
    """Facts of a benchmark; none where there is no file. Raises IncompleteStore where it is damaged."""
    cure = "copy it again, or delete it and run the same `meddel benchmark run` again"
    return read_facts(path, cure) if path.is_file() else {}


def finished(runs: Path) -> Iterator[Path]:
    """The record of each finished cell."""
    return (runs / CELLS).glob(f"*/*/seed*/{CELL}")


@dataclass(frozen=True, order=True)
class Divergence:
    """A cell whose training ended in a loss that is no number. step: at which, where that is known."""

    place: Place
    step: int | None
    sentence: str

    @classmethod
    def read(cls, folder: Path) -> Divergence | None:
        """What stands in a cell's folder; None where it did not diverge."""
        facts = read_json(folder / DIVERGED)
        if not facts:
            return None
        with intact(folder / DIVERGED, "delete it, and the same `meddel benchmark run` tries the cell again"):
            place = Place(str(facts["arm"]), percent(float(facts["retention"])), int(facts["seed"]))
            return cls(place, facts["step"], str(facts["sentence"]))


def diverged(cells: list[CellPlan], runs: Path) -> list[Divergence]:
    """Those of the cells that did."""
    return [one for cell in cells if (one := Divergence.read(cell.folder(runs)))]


def is_settled(cell: CellPlan, runs: Path, plan: Plan) -> bool:
    """True where nothing is left to do: the cell is finished, or it diverged, as the same seed would again."""
    return is_finished(cell, runs, plan) or (cell.folder(runs) / DIVERGED).is_file()


def is_pretrained(cell: CellPlan, runs: Path) -> bool:
    """True where only tasks are left to do."""
    return (cell.folder(runs) / PRETRAINING / MANIFEST).is_file()


def is_finished(cell: CellPlan, runs: Path, plan: Plan) -> bool:
    """True where the cell's record names every task of the plan."""
    return {task.name for task in plan.trained_tasks} <= set(read_json(cell.folder(runs) / CELL).get("tasks", ()))
