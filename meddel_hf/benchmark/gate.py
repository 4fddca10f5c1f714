"""The gates before a matrix, task by task (of kind instance, series by series): is anything learned, and is there
anything to choose?

*Learning*: does pre-training on the full pool beat none? *Headroom*: is the full pool, or the pool without its
near-duplicates, above random at the smallest retention? Where either is not so, selectors cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from meddel_hf.benchmark.cells import (
    CELL,
    GATE,
    TASKS,
    CellPlan,
    Divergence,
    distinct_cells,
    diverged,
    gate_cells,
    is_finished,
    random_cells,
    read_json,
)  # fmt: skip
from meddel_hf.benchmark.evidence import FILES, GROUND, scores_of
from meddel_hf.benchmark.place import series
from meddel_hf.benchmark.plan import InstanceTask, Plan, Trained
from meddel_hf.benchmark.verdicts import Headroom, Redundancy, Verdict, plain
from meddel_hf.downstream.intervals import compare, simultaneous_level
from meddel_hf.downstream.scores import FILE, Scores
from meddel_hf.runtime.records import recorded_files, write_facts

BySeed = Mapping[int, Scores]


def verdict(
    full: Sequence[Scores], untrained: Sequence[Scores], *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> Verdict:
    """full, untrained: the scores of one task, a run for each seed, in the same order of seeds; others as in `compare`.

    Passed where the full pool's scores are higher, the interval of the difference clear of zero.
    """
    difference = compare(full, untrained, draws=draws, level=level, seed=seed)
    with_all, with_none = _mean(full), _mean(untrained)
    passed = difference.shown and difference.value > 0
    return Verdict(passed, full[0].measure, with_all, with_none, difference.value, difference.low, difference.high)


def headroom(
    random: BySeed,
    full: BySeed,
    distinct: BySeed,
    retention: float,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Headroom | None:
    """The scores of one task by seed: of random at `retention`, of the full pool, of the pool without near-duplicates.

    Passed where one of the two is above random, the interval clear of zero; both have one rival, so that where both are
    compared, each interval is widened until both hold at once. Said of the one that passes, or else lies, highest.
    None where no seed has both sides of a comparison.
    """
    bests: dict[Literal["full", "distinct"], BySeed] = {"full": full, "distinct": distinct}
    seeds = {by: sorted(set(random) & set(best)) for by, best in bests.items()}
    made = [by for by in bests if seeds[by]]
    if not made:
        return None
    each = simultaneous_level(len(made), level)
    comparisons = []
    for by in made:
        best, chance = ([arm[one] for one in seeds[by]] for arm in (bests[by], random))
        d = compare(best, chance, draws=draws, level=each, seed=seed)
        passed = d.shown and d.value > 0
        comparisons.append(Headroom(passed, _mean(chance), _mean(best), by, d.value, d.low, d.high, retention))
    return max(comparisons, key=lambda one: (one.passed, one.difference))


@dataclass(frozen=True, eq=False)
class GateRuns:
    """The cells of a plan's gates in the folder `runs`; all are finished, or diverged.

    redundancy: None where it was not asked, since no headroom is.
    """

    plan: Plan
    runs: Path
    redundancy: Redundancy | None = None

    @property
    def cells(self) -> dict[str, list[CellPlan]]:
        """What is compared -> its cells."""
        full, untrained = ([cell for cell in gate_cells(self.plan) if cell.retention == at] for at in (1.0, 0.0))
        by_role = {"full": full, "untrained": untrained}
        if self.redundancy is not None:
            by_role["random"] = random_cells(self.plan)
            by_role["distinct"] = distinct_cells(self.plan, self.redundancy.worth_removing)
        return by_role

    @property
    def diverged(self) -> list[Divergence]:
        cells = [cell for cells in self.cells.values() for cell in cells]
        return diverged(cells, self.runs)

    def verdicts(self) -> dict[str, Verdict]:
        """Task -> what its gates say, of kind instance each series -> what they say of it ("seen (trunk)"); without
        those of which no seed has both the full pool and no pre-training.

        A seed of which a cell diverged is left out of the comparisons that need it.
        """
        by_name = {}
        for task in self.plan.trained_tasks:
            for name, set_ in self._judged(task).items():
                full, untrained = (self._scores(role, task.name, set_) for role in ("full", "untrained"))
                seeds = sorted(set(full) & set(untrained))
                if seeds:
                    both = [full[seed] for seed in seeds], [untrained[seed] for seed in seeds]
                    learned = verdict(*both, level=self.plan.gate_level)
                    room = self._headroom(task.name, set_, full)
                    by_name[name] = replace(learned, gates=self.plan.asked_gates, headroom=room)
        return by_name

    def _judged(self, task: Trained) -> dict[str, str | None]:
        """Name -> the set of scores that is judged under it; None: all of the task's sets together.

        The trunk and the head of kind instance are two measures of the same frames, which can say different things.
        """
        scored = self._scores("full", task.name, None) if isinstance(task, InstanceTask) else {}
        sets = next(iter(scored.values())).sets if scored else []
        return {series(task.name, one): one for one in sets} if len(sets) > 1 else {task.name: None}

    def _headroom(self, task: str, set_: str | None, full: BySeed) -> Headroom | None:
        if self.redundancy is None or self.plan.smallest is None:
            return None
        random, distinct = (self._scores(role, task, set_) for role in ("random", "distinct"))
        return headroom(random, full, distinct, self.plan.smallest, level=self.plan.gate_level)

    def _scores(self, role: str, task: str, set_: str | None) -> dict[int, Scores]:
        """Scores of a task by seed, of the cells that are finished; those of one set, where one is named."""
        finished = [cell for cell in self.cells[role] if is_finished(cell, self.runs, self.plan)]
        folders = {cell.seed: cell.folder(self.runs) for cell in finished}
        scored = {seed: scores_of(folder, read_json(folder / CELL), task) for seed, folder in folders.items()}
        return {seed: one if set_ is None else one.of(set_) for seed, one in scored.items()}

    def record(self, verdicts: Mapping[str, Verdict], ground: str | None) -> None:
        """Write gate.json, which `meddel report` reads: with checksums of the scores that it was decided by.

        ground: digest of the benchmark, see `evidence.ground`.
        """
        cells = [cell for cells in self.cells.values() for cell in cells if is_finished(cell, self.runs, self.plan)]
        tasks = [task.name for task in self.plan.trained_tasks if set(self._judged(task)) & set(verdicts)]
        paths = [cell.folder(self.runs) / TASKS / task / FILE for cell in cells for task in tasks]
        trained = [read_json(cell.folder(self.runs) / CELL).get("samples") for cell in cells if cell.retention]
        facts: dict[str, Any] = {
            "tasks": {name: plain(one) for name, one in verdicts.items()},
            "passed": [name for name, one in verdicts.items() if one.can_rank],
            "gates": list(self.plan.asked_gates), "seeds": list(self.plan.seeds),
            "samples": next(iter(trained), None), "level": self.plan.gate_level,
            "redundancy": None if self.redundancy is None else asdict(self.redundancy),
            "diverged": [one.place.words for one in self.diverged],
            GROUND: ground,
            FILES: recorded_files(self.runs, [path.relative_to(self.runs).as_posix() for path in paths]),
        }  # fmt: skip
        write_facts(self.runs / GATE, facts)


def _mean(runs: Sequence[Scores]) -> float:
    return sum(scores.value() for scores in runs) / len(runs)
