"""A folder of benchmark runs, read: finished cells with their scores, what the gate said, and what is missing.

An unfinished matrix is read as far as it goes: a cell counts once its `cell.json`, which is written last, is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from meddel_hf import schema
from meddel_hf.benchmark.cells import (
    CELL,
    CELLS,
    CHOICES,
    DIVERGED,
    EXCLUDED,
    GATE,
    LABELS,
    PLAN,
    POOL,
    RANDOM,
    SELECTION,
    Divergence,
    read_json,
)  # fmt: skip
from meddel_hf.benchmark.evidence import GROUND, check_cell, check_together, cure, scores_of, tasks_of
from meddel_hf.benchmark.measures import read_measures
from meddel_hf.benchmark.place import RESERVED, UNTRAINED, Place, label, listed, percent, planned, series
from meddel_hf.benchmark.verdicts import Verdict, Verdicts, read_verdicts
from meddel_hf.downstream.labels.compare import load_outcomes
from meddel_hf.downstream.labels.outcomes import Outcomes
from meddel_hf.downstream.scores import Measure, Scores
from meddel_hf.errors import IncompleteStore, InvalidArgument, Mismatch
from meddel_hf.runtime.checks import is_fraction
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.reading import intact, read_lines
from meddel_hf.runtime.tables import read_table
from meddel_hf.selection.measures import Measures
from meddel_hf.selection.table import ROWS

_KEPT = pa.schema([(schema.ID, pa.string()), (schema.KEPT, pa.bool_()), (schema.REASON, pa.string())])
_WORDS: dict[str, str] = {
    "miou": "mIoU",
    "miou-set": "mIoU over the set",
    "dice": "Dice",
    "accuracy": "accuracy",
    "balanced-accuracy": "balanced accuracy",
}


@dataclass(frozen=True)
class Target:
    """What a score is about: a downstream task, trained once a cell, and one of the sets that it is tested on.

    only: it is the task's only set. series: of a task of kind instance, whose "sets" are its trunk and its head on the
    same frames: two measures, of which each is judged by itself.
    """

    task: str
    set: str
    measure: Measure
    only: bool
    series: bool

    @property
    def name(self) -> str:
        if self.only:
            return self.task
        return series(self.task, self.set) if self.series else f"{self.task} on {self.set}"

    @property
    def judged(self) -> str:
        """Name of what the gates judge: the task with all its test sets, or the series."""
        return self.name if self.series else self.task

    @property
    def unit(self) -> str:
        """The measure as it is said."""
        return in_words(self.measure)


@dataclass(frozen=True, eq=False)
class Cell:
    """A finished cell.

    retention: share of the pool, in [0, 1]; 1 of the full pool, 0 without pre-training.
    facts:     cell.json as it stands.
    selector:  name in the selection's manifest; None where nothing was selected.
    tasks:     names of tasks with scores. on_the_way: "TASK@SAMPLES", of encoders that were exported on the way.
    trust:     compare sizes of files, and not their checksums.
    """

    folder: Path
    arm: str
    retention: float
    seed: int
    facts: Mapping[str, Any]
    selector: str | None
    tasks: tuple[str, ...]
    on_the_way: tuple[str, ...] = ()
    trust: bool = False

    @property
    def place(self) -> Place:
        return Place(self.arm, percent(self.retention), self.seed)

    @property
    def samples(self) -> int | None:
        """Views seen in pre-training."""
        return self.facts.get("samples")

    @property
    def frames(self) -> int | None:
        """Frames pre-trained on: what was kept, without what leaked."""
        return self.facts.get("frames")

    @property
    def epochs(self) -> float | None:
        return self.samples / self.frames if self.samples and self.frames else None

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Final scores by task."""
        return {task: self._scores(task) for task in self.tasks}

    @cached_property
    def snapshots(self) -> dict[tuple[str, int], Scores]:
        """Scores by task and samples seen, of encoders that were exported on the way."""
        by_task = {}
        for name in self.on_the_way:
            task, _, samples = name.rpartition("@")
            if samples.isdecimal():
                by_task[task, int(samples)] = self._scores(name)
        return by_task

    def _scores(self, task: str) -> Scores:
        return scores_of(self.folder, self.facts, task, trust=self.trust)

    @cached_property
    def measures(self) -> Measures | None:
        """What the selection covers, without training; None without one, and of cells of before it was measured."""
        return read_measures(self.folder, self.facts)

    @cached_property
    def rows(self) -> pa.Table | None:
        """Columns id, kept and reason of the selection, a row for every frame of the pool; None without one."""
        folder = self.folder / SELECTION
        if not (folder / MANIFEST).is_file():
            return None
        Manifest.read(folder).check(folder, [ROWS], trust=self.trust, cure=cure(self.folder))
        return read_table(folder / ROWS, _KEPT)


@dataclass(frozen=True, eq=False)
class Runs:
    """A folder of benchmark runs.

    gate:       what gate.json says; None where no gate was run.
    unfinished: folders of cells that were begun and have no cell.json.
    diverged:   cells whose training ended in a loss that is no number; they are not finished, and in no mean.
    labels:     what came out of each finished task of kind labels, by its name.
    planned:    places that the plan asks for; empty where the plan does not tell. planned_tasks: likewise.
    instances:  tasks of kind instance, as the plan has them.
    """

    folder: Path
    cells: tuple[Cell, ...]
    unfinished: tuple[Place, ...]
    planned: tuple[Place, ...]
    planned_tasks: tuple[str, ...]
    gate: Verdicts | None
    manifest: Manifest | None
    plan: str | None
    notes: tuple[str, ...] = field(default=())
    labels: Mapping[str, Outcomes] = field(default_factory=dict)
    diverged: tuple[Divergence, ...] = ()
    instances: frozenset[str] = frozenset()

    @property
    def verdicts(self) -> Mapping[str, Verdict] | None:
        """Task -> what gate.json says; None where no gate was run."""
        return None if self.gate is None else self.gate.by_task

    @cached_property
    def pool(self) -> pa.Table | None:
        """What was selected from: id, source, center, label, group; None where the runs do not tell."""
        path = self.folder / POOL
        return read_table(path) if path.is_file() else None

    @cached_property
    def excluded(self) -> pa.Table | None:
        """Frames that were left out of the pool: id and why; None where the runs do not tell."""
        path = self.folder / EXCLUDED
        return read_table(path) if path.is_file() else None

    @property
    def arms(self) -> list[str]:
        """Labels of the selectors in the plan's order, or else in that of the alphabet; none that is reserved."""
        labels = dict.fromkeys(place.arm for place in (*self.planned, *sorted(cell.place for cell in self.cells)))
        present = {cell.arm for cell in self.cells}
        return [arm for arm in labels if arm in present and arm not in RESERVED]

    @property
    def retentions(self) -> list[float]:
        """Of the selectors, ascending."""
        return sorted({cell.retention for cell in self.cells if cell.arm in self.arms})

    @property
    def seeds(self) -> list[int]:
        return sorted({cell.seed for cell in self.cells})

    @property
    def missing(self) -> list[Place]:
        """Planned places without a finished cell; begun ones included, not those that diverged."""
        done = {cell.place for cell in self.cells} | {one.place for one in self.diverged}
        return [place for place in self.planned if place not in done]

    @property
    def rival(self) -> str | None:
        """Label of the arm that chooses at random: one that is called so first; None where there is none."""
        chance = {cell.arm for cell in self.cells if cell.selector == RANDOM and cell.arm not in RESERVED}
        return next((arm for arm in sorted(chance, key=lambda arm: (arm != RANDOM, self.arms.index(arm)))), None)

    @cached_property
    def targets(self) -> list[Target]:
        """Every task and test set that some cell was scored on: tasks in the plan's order, a task's own set first."""
        targets: dict[tuple[str, str], Target] = {}
        for cell in self.cells:
            for task, scores in cell.scores.items():
                sets = scores.sets
                for set in sets:
                    target = Target(task, set, scores.measure, len(sets) == 1, task in self.instances)
                    targets.setdefault((task, set), target)
        first = {task: place for place, task in enumerate(self.planned_tasks)}
        order = sorted(targets, key=lambda key: (first.get(key[0], len(first)), key[0], key[1] != key[0], key[1]))
        return [targets[key] for key in order]

    @property
    def homes(self) -> list[Target]:
        """The first target of all that is judged: a task's own test set, where it has one of its name; each series."""
        return list({target.judged: target for target in reversed(self.targets)}.values())[::-1]

    def of(self, target: Target, arm: str, retention: float) -> dict[int, Scores]:
        """Scores on a target by seed; empty where there are none."""
        return self._by_place.get((target.task, target.set, arm, percent(retention)), {})

    def measured(self, arm: str, retention: float) -> dict[int, Measures]:
        """What selections cover, without training, by seed; empty where that was not measured."""
        cells = [cell for cell in self.cells if (cell.arm, cell.place.percent) == (arm, percent(retention))]
        return {cell.seed: cell.measures for cell in cells if cell.measures is not None}

    @cached_property
    def _by_place(self) -> dict[tuple[str, str, str, str], dict[int, Scores]]:
        by_place: dict[tuple[str, str, str, str], dict[int, Scores]] = {}
        for cell in self.cells:
            for task, scores in cell.scores.items():
                for set in scores.sets:
                    by_place.setdefault((task, set, cell.arm, percent(cell.retention)), {})[cell.seed] = scores.of(set)
        return by_place


def in_words(measure: str) -> str:
    """A measure's name as it is said: "miou" is mIoU."""
    return _WORDS.get(measure, measure)


def read(folder: str | Path, *, trust: bool = False) -> Runs:
    """Read what is finished; each file is compared with what was recorded of it, or with `trust` its size alone.

    Raises InvalidArgument where there is no such folder, IncompleteStore where no cell of it is finished or a file is
    damaged, Mismatch where a cell is of another benchmark or stands in the place of another.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InvalidArgument(f"{folder} is not a folder: name the one that `meddel benchmark run` wrote")
    cells, unfinished, diverged = [], [], []
    for seed in sorted((folder / CELLS).glob("*/*/seed*")):
        if (seed / DIVERGED).is_file():
            diverged.append(Divergence.read(seed))
        if (seed / CELL).is_file():
            cells.append(_cell(seed, trust))
        elif not (seed / DIVERGED).is_file():
            unfinished.append(Place(seed.parent.parent.name, seed.parent.name, _number(seed.name)))
    labels = _labels(folder)
    if not labels and not any(cell.scores for cell in cells):
        raise IncompleteStore(
            f"{folder} holds no finished cell with scores (cells/ARM/PERCENT/seedK/cell.json): "
            "nothing can be reported yet; go on with `meddel benchmark run`"
        )
    manifest = Manifest.read(folder, "benchmark") if (folder / MANIFEST).is_file() else None
    if manifest is not None:
        again = "copy it again, or run the same `meddel benchmark run` again, which writes it anew"
        manifest.check(folder, [PLAN, POOL, EXCLUDED], trust=trust, cure=again)
    elif any(GROUND in cell.facts for cell in cells):
        raise IncompleteStore(
            f"{folder} has lost its {MANIFEST}, without which its cells cannot be told from those of another "
            "benchmark: copy it again"
        )
    for cell in cells:
        check_cell(cell.folder, cell.facts, manifest)
    check_together({cell.folder: cell.facts for cell in cells})
    plan, text = (manifest.details.get("plan") if manifest else None) or {}, folder / PLAN
    return Runs(
        folder,
        tuple(cells),
        tuple(unfinished),
        planned(plan) if plan.get("pretraining", True) else (),
        tuple(label(task) for task in listed(plan.get("tasks"))),
        read_verdicts(folder / GATE, manifest, trust),
        manifest,
        "\n".join(read_lines(text, "a plan")) + "\n" if text.is_file() else None,
        labels=labels,
        diverged=tuple(one for one in diverged if one),
        instances=frozenset(label(task) for task in listed(plan.get("tasks")) if _is_instance(task)),
    )


def _is_instance(task: Any) -> bool:
    return isinstance(task, Mapping) and task.get("kind") == "instance"


def _labels(folder: Path) -> dict[str, Outcomes]:
    """Finished tasks of kind labels."""
    done = sorted((folder / LABELS).glob(f"*/{CHOICES}/{MANIFEST}"))
    return {path.parents[1].name: load_outcomes(path.parent) for path in done}


def _cell(folder: Path, trust: bool) -> Cell:
    facts = read_json(folder / CELL)
    manifest = folder / SELECTION / MANIFEST
    selector = None
    if manifest.is_file():
        selector = Manifest.read(manifest.parent, "selection").arguments.get("selector")
    names = tasks_of(folder, facts)
    tasks, on_the_way = (tuple(name for name in names if ("@" in name) is partly) for partly in (False, True))
    with intact(folder / CELL, cure(folder)):
        arm, retention, seed = str(facts["arm"]), float(facts["retention"]), int(facts["seed"])
    if not (is_fraction(retention) or (arm == UNTRAINED and not retention)):
        raise IncompleteStore(f"{folder / CELL} is damaged (retention {retention} of {arm}): {cure(folder)}")
    cell = Cell(folder, arm, retention, seed, facts, selector, tasks, on_the_way, trust)
    here = Place(folder.parents[1].name, folder.parent.name, _number(folder.name))
    if here != replace(cell.place, arm=cell.arm.replace("/", "_")):
        raise Mismatch(f"{folder / CELL} is that of {cell.place.words}: {cure(folder)}")
    return cell


def _number(name: str) -> int:
    digits = name.removeprefix("seed")
    return int(digits) if digits.isdecimal() else -1
