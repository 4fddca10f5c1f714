"""A made folder of benchmark runs whose truth is known: `python tests/make_runs.py FOLDER` writes one to look at.

Scores are planted, not trained: a frame's IoU is its own difficulty, plus the arm's effect, plus the seed's luck, plus
noise. Everything else (selections, manifests, cell.json, gate.json) has the layout of `meddel benchmark run`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from meddel_hf import schema
from meddel_hf.benchmark.evidence import ground, of_scores
from meddel_hf.downstream.scores import COLUMNS, Scores
from meddel_hf.runtime.manifest import Manifest, fingerprint
from meddel_hf.runtime.records import recorded_files, write_facts
from meddel_hf.selection.answer import Origin
from meddel_hf.selection.selection import Selection

SOURCES = {"gastrovision": 90, "cp_child": 60, "polypgen2021": 40, "tiny_center": 6}
POOL = [f"{source}/frame-{i:03}" for source, n in SOURCES.items() for i in range(n)]
SEG, PROBE = "segmentation", "probe"


@dataclass(frozen=True)
class Task:
    """kind; test set -> frames; mean score of random at 100 %; what no pre-training takes away; video's length."""

    kind: str
    sets: Mapping[str, int]
    level: float = 0.6
    untrained: float = -0.12
    video: int = 1


@dataclass(frozen=True)
class Truth:
    """What is planted. effects: arm -> retention -> what it adds to random's score; arms -> the selector's name.

    ladder: rungs; their effects are those of the arm "ladder".
    """

    arms: Mapping[str, str]
    effects: Mapping[str, Mapping[float, float]]
    tasks: Mapping[str, Task]
    retentions: tuple[float, ...] = (0.05, 0.2, 0.5)
    seeds: int = 3
    luck: float = 0.004
    noise: float = 0.02
    samples: int = 800_000
    snapshots: int = 0
    ladder: tuple[float, ...] = ()
    less: Mapping[float, float] = field(default_factory=lambda: {0.05: -0.03, 0.2: -0.012, 0.5: -0.004})


SHOWN = Truth(
    arms={"random": "random", "stratified": "random-stratified", "MedDEL": "meddel", "SemDeDup": "semdedup"},
    effects={"MedDEL": {0.05: 0.03, 0.2: 0.012, 0.5: 0.0}, "SemDeDup": {0.05: -0.02, 0.2: 0.0, 0.5: 0.0}},
    tasks={
        "kvasir_seg": Task(SEG, {"kvasir_seg": 220, "cvc_clinicdb": 160, "polypgen_c6": 90}, 0.62),
        "cvc_clinicdb": Task(SEG, {"kvasir_seg": 220, "cvc_clinicdb": 160, "polypgen_c6": 90}, 0.58, video=8),
        "gastrovision_labels": Task(PROBE, {"gastrovision_labels": 400}, 0.7),
        "no_effect_here": Task(SEG, {"no_effect_here": 120}, 0.3, untrained=0.0),
    },
    snapshots=4,
)


def make_runs(
    folder: Path, truth: Truth = SHOWN, *, gate: bool = True, more: Mapping[str, object] | None = None, typed: str = ""
) -> Path:
    """Write the folder of a finished matrix; gate=False leaves gate.json out. more: of the plan; typed: the command."""
    cells = [("full", 1.0), ("untrained", 0.0)]
    cells += [(arm, retention) for arm in truth.arms for retention in truth.retentions]
    cells += [("ladder", share) for share in truth.ladder]
    for arm, retention in cells:
        for seed in range(truth.seeds):
            _write_cell(folder, truth, arm, retention, seed)
    plan = {
        "name": "made runs",
        "arms": [{"label": arm, "selector": name} for arm, name in truth.arms.items()],
        "retentions": list(truth.retentions),
        "seeds": truth.seeds,
        "tasks": [{"name": name, "kind": task.kind, "test": list(task.sets)} for name, task in truth.tasks.items()],
        **(more or {}),
    }
    (folder / "plan.yaml").write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")  # JSON is YAML
    _benchmark(plan, typed).write(folder, ["plan.yaml"])
    if gate:
        passed = [name for name, task in truth.tasks.items() if task.untrained < -0.01]
        verdicts = {name: _gate(task, name in passed) for name, task in truth.tasks.items()}
        paths = [path for arm in ("full", "untrained") for path in folder.glob(f"cells/{arm}/*/*/tasks/*/*.parquet")]
        names = [path.relative_to(folder).as_posix() for path in paths if "@" not in path.parent.name]
        facts = {"tasks": verdicts, "passed": passed, "files": recorded_files(folder, names)}
        write_facts(folder / "gate.json", {**facts, "ground": ground(_benchmark(plan))})
    return folder


def _benchmark(plan: Mapping[str, object], typed: str = "") -> Manifest:
    arguments, details = {"pretraining": {"samples": 800_000}}, {"plan": plan}
    details |= {"command": typed} if typed else {}
    return Manifest("benchmark", fingerprint("made"), arguments, {"pool": "0" * 32}, details)


def _gate(task: Task, passed: bool) -> dict[str, object]:
    difference = -task.untrained
    return {
        "measure": "miou" if task.kind == SEG else "balanced-accuracy",
        "full": task.level,
        "untrained": task.level + task.untrained,
        "difference": difference,
        "low": difference - 0.02,
        "high": difference + 0.02,
        "passed": passed,
    }


def _write_cell(folder: Path, truth: Truth, arm: str, retention: float, seed: int) -> None:
    cell = folder / "cells" / arm.replace("/", "_") / f"{100 * retention:g}" / f"seed{seed}"
    cell.mkdir(parents=True)
    kept = round(retention * len(POOL))
    parents = {"pretraining": "1" * 32}
    if arm in truth.arms or arm == "ladder":
        selection = _selection(truth.arms.get(arm, "random"), retention, seed)
        selection.save(cell / "selection")
        parents["selection"] = selection.fingerprint
    for name, task in truth.tasks.items():
        _scores(truth, name, task, arm, retention, seed).write(_made(cell / "tasks" / name))
        for k in range(1, truth.snapshots + 1):
            samples = truth.samples * k // truth.snapshots
            part = _scores(truth, name, task, arm, retention, seed, k / truth.snapshots)
            part.write(_made(cell / "tasks" / f"{name}@{samples}"))
    seconds = 0.0 if arm == "untrained" else 2400.0 + 10 * seed
    facts = {
        "arm": arm,
        "retention": retention,
        "seed": seed,
        "samples": 0 if arm == "untrained" else truth.samples,
        "frames": kept,
        "seconds_selection": 1.5 if arm in truth.arms else 0.0,
        "seconds_pretraining": seconds,
        "device": "cpu",
        "ground": ground(_benchmark({})),
        "parents": parents,
        "files": of_scores(cell),
    }
    write_facts(cell / "cell.json", facts)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _scores(truth: Truth, name: str, task: Task, arm: str, retention: float, seed: int, part: float = 1.0) -> Scores:
    """part: of the training that was done, in (0, 1]; the effect of pre-training grows with it."""
    tables = []
    for set, n in task.sets.items():
        difficulty = _rng(name, set).normal(0, 0.12, n)  # the frame's own: the same for every arm and seed
        home = 0.0 if set == name else -0.06
        if arm == "untrained":
            effect = task.untrained
        else:
            gain = truth.effects.get(arm, {}).get(retention, 0.0) + truth.less.get(retention, 0.0)
            # nothing to gain where pre-training has no effect
            effect = task.untrained * (1 - part) + part * gain * (task.untrained != 0)
        luck = _rng(name, seed).normal(0, truth.luck)  # paired: arms of a seed share it
        noise = _rng(name, set, arm, retention, seed, part).normal(0, truth.noise, n)
        tables.append(_table(task, set, task.level + home + difficulty + effect + luck + noise))
    return Scores(pa.concat_tables(tables), "miou" if task.kind == SEG else "balanced-accuracy")


def _table(task: Task, set: str, value: np.ndarray) -> pa.Table:
    n = len(value)
    value = np.clip(value, 0, 1)
    ids = [f"{set}/{i:04}" for i in range(n)]
    if task.kind == PROBE:  # right where a fixed threshold of the frame is below the value
        value = (np.linspace(0, 1, n) < value).astype(float)
    union = 1000 + np.arange(n) % 7 * 500
    common = np.round(value * union).astype(int)
    masks = task.kind == SEG
    columns = {
        schema.ID: pa.array(ids),
        schema.SET: pa.array([set] * n),
        schema.GROUP: pa.array([f"{set}/video{i // task.video}" for i in range(n)] if task.video > 1 else ids),
        schema.LABEL: pa.array([None if masks else "abc"[i % 3] for i in range(n)], pa.string()),
        schema.SCORE: pa.array(common / union if masks else value, pa.float32()),
        schema.INTERSECTION: pa.array([[int(c)] if masks else None for c in common], pa.list_(pa.int64())),
        schema.UNION: pa.array([[int(u)] if masks else None for u in union], pa.list_(pa.int64())),
    }
    return pa.table(columns, COLUMNS)


def _selection(selector: str, retention: float, seed: int) -> Selection:
    """MedDEL and SemDeDup drop near-duplicates, the rest choose; the smallest source vanishes from MedDEL at 5 %."""
    kept = np.zeros(len(POOL), bool)
    order = _rng(selector, seed).permutation(len(POOL))
    if selector == "meddel":
        order = order[np.argsort(order >= len(POOL) - SOURCES["tiny_center"], kind="stable")]
    kept[order[: round(retention * len(POOL))]] = True
    why = "near-duplicate" if selector in ("meddel", "semdedup") else "not-selected"
    reason = [None if k else why for k in kept]
    if selector == "meddel":
        gone = np.flatnonzero(~kept)[:5]
        for i in gone:
            reason[i] = "outlier"
    n, first = len(POOL), POOL[int(np.flatnonzero(kept)[0])]
    duplicate = [first if r == "near-duplicate" else None for r in reason]
    table = pa.table(
        {
            schema.ID: POOL,
            schema.KEPT: kept,
            schema.REASON: pa.array(reason, pa.string()),
            schema.DUPLICATE_OF: pa.array(duplicate, pa.string()),
            schema.SIMILARITY: pa.array([0.95 if d else None for d in duplicate], pa.float32()),
            schema.CLUSTER: pa.nulls(n, pa.int64()),
            schema.DISTANCE: pa.nulls(n, pa.float32()),
        }
    )
    settings = {"selector": selector, "retention": retention, "seed": seed}
    return Selection(table, settings, Origin("0" * 32, row_ids=False))


def _rng(*key: object) -> np.random.Generator:
    return np.random.default_rng(int(fingerprint(*map(str, key))[:15], 16))


if __name__ == "__main__":
    print(make_runs(Path(sys.argv[1])))
