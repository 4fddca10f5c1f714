"""The gate: does pre-training on the full pool beat none? Where it does not, selectors cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from meddel_hf.benchmark.cells import CELL, GATE, TASKS, CellPlan, gate_cells, read_json
from meddel_hf.benchmark.evidence import FILES, GROUND, scores_of
from meddel_hf.benchmark.plan import Plan
from meddel_hf.benchmark.results import Verdict, in_words
from meddel_hf.downstream.intervals import compare
from meddel_hf.downstream.scores import FILE, Scores
from meddel_hf.runtime.records import recorded_files, write_facts


def verdict(
    full: Sequence[Scores], untrained: Sequence[Scores], *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> Verdict:
    """full, untrained: the scores of one task, a run for each seed, in the same order of seeds; others as in `compare`.

    Passed where the full pool's scores are higher, the interval of the difference clear of zero.
    """
    difference = compare(full, untrained, draws=draws, level=level, seed=seed)
    with_all, with_none = (sum(scores.value() for scores in arm) / len(arm) for arm in (full, untrained))
    passed = difference.shown and difference.value > 0
    return Verdict(passed, full[0].measure, with_all, with_none, difference.value, difference.low, difference.high)


def verdicts(plan: Plan, runs: Path) -> dict[str, Verdict]:
    """Task -> what its gate says; all gate cells are finished."""
    by_task = {}
    for task in plan.trained_tasks:
        full, untrained = (
            [_scores(CellPlan(None, share, seed).folder(runs), task.name) for seed in plan.seeds]
            for share in (1.0, 0.0)
        )
        by_task[task.name] = verdict(full, untrained, level=plan.gate_level)
    return by_task


def _scores(cell: Path, task: str) -> Scores:
    return scores_of(cell, read_json(cell / CELL), task)


def record(plan: Plan, runs: Path, verdicts: Mapping[str, Verdict], ground: str | None) -> None:
    """Write gate.json, which `meddel report` reads: with checksums of the scores that it was decided by.

    ground: digest of the benchmark, see `evidence.ground`.
    """
    tasks = {
        name: {key: value for key, value in asdict(v).items() if key != "recorded"} for name, v in verdicts.items()
    }
    passed = [name for name, v in verdicts.items() if v.passed]
    samples = read_json(gate_cells(plan)[0].folder(runs) / CELL).get("samples")
    paths = [cell.folder(runs) / TASKS / task / FILE for cell in gate_cells(plan) for task in verdicts]
    facts = {
        "tasks": tasks, "passed": passed, "seeds": list(plan.seeds), "samples": samples, "level": plan.gate_level,
        GROUND: ground, FILES: recorded_files(runs, [path.relative_to(runs).as_posix() for path in paths]),
    }  # fmt: skip
    write_facts(runs / GATE, facts)


def table(verdicts: Mapping[str, Verdict]) -> str:
    """What the gate says, as text: a line for each task."""
    lines = [("task", "measure", "full pool", "none", "difference", "", "gate")]
    for name, v in verdicts.items():
        between = f"[{v.low:+.4f}, {v.high:+.4f}]"
        says = "passed" if v.passed else "not passed"
        lines.append(
            (name, in_words(v.measure), f"{v.full:.4f}", f"{v.untrained:.4f}", f"{v.difference:+.4f}", between, says)
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in lines)
