"""What was run: the plan, the versions, the device, what it cost, and what is missing; names, and no local paths."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from meddel_hf.benchmark.estimate import in_words
from meddel_hf.benchmark.place import Place
from meddel_hf.benchmark.place import listed as listed_in
from meddel_hf.benchmark.plan import OF_CELLS
from meddel_hf.benchmark.results import Runs
from meddel_hf.report.document import Block, Entry, Listing, Paragraph, Point, Points, Section, Table, listed
from meddel_hf.report.findings import Findings
from meddel_hf.report.sections.gates import gate_tables
from meddel_hf.report.sections.groups import left_out, shared_groups, tested_groups
from meddel_hf.report.sections.tables import time_table
from meddel_hf.runtime.manifest import installed_versions
from meddel_hf.runtime.network import text_without_places, typed_without_places, without_places
from meddel_hf.runtime.words import plural

_SHOWN = 40  # missing cells that are named one by one


def record(f: Findings, command: str) -> Section:
    runs = f.runs
    blocks: list[Block] = [Points(tuple(_facts(f, command) if runs.cells else _typed(runs, command)))]
    if runs.cells:
        blocks += [*shared_groups(runs), *_missing(f), *_diverged(runs)]
    if f.verdicts:
        blocks += gate_tables(f)
    if runs.cells:
        blocks.append(time_table(runs))
    if runs.plan:
        named = _used(without_places(yaml.safe_load(runs.plan)))
        blocks.append(Listing("plan.yaml", yaml.safe_dump(named, sort_keys=False, allow_unicode=True)))
    elif runs.manifest:
        blocks.append(Listing("plan", json.dumps(_used(without_places(runs.manifest.details.get("plan"))), indent=1)))
    blocks.append(_versions(runs))
    return Section("record", "What was run", tuple(blocks))


def _used(plan: Any) -> Any:
    """A plan without the keys that its tasks have no use for."""
    tasks = listed_in(plan.get("tasks")) if isinstance(plan, Mapping) else ()
    if not tasks or not all(isinstance(task, Mapping) and task.get("kind") == "labels" for task in tasks):
        return plan
    return {key: value for key, value in plan.items() if key not in OF_CELLS}


def _facts(f: Findings, command: str) -> list[Point]:
    runs = f.runs
    seconds = sum(cell.facts.get("seconds_pretraining") or 0 for cell in runs.cells)
    seconds += sum(cell.facts.get("seconds_selection") or 0 for cell in runs.cells)
    samples = sorted({cell.samples for cell in runs.cells if cell.samples})
    devices = sorted({str(cell.facts["device"]) for cell in runs.cells if cell.facts.get("device")})
    budget = " or ".join(f"{n:,}" for n in samples) or "no"
    paired = f"{f.draws.level:.0%} intervals, paired over seeds; seed {f.draws.seed}."
    draws = f"{plural(f.draws.draws, 'draw')} of frames, {paired}"
    seeds = f"{plural(len(runs.seeds), 'seed')} ({listed([str(seed) for seed in runs.seeds])})"
    return [
        Point("Cells:", f"{_counted(runs)}; {seeds}."),
        Point("Budget:", f"{budget} samples seen in each pre-training, whatever the retention."),
        Point("Selection and pre-training:", f"{in_words(seconds)} in all, added over cells."),
        Point("Device:", f"{listed(devices) or 'not recorded'}."),
        Point("Selectors:", f"{listed(_selectors(runs)) or 'none'}; the rival is {runs.rival or 'missing'}."),
        Point("Bootstrap:", draws),
        *left_out(runs),
        *tested_groups(runs),
        *_typed(runs, command),
    ]


def _counted(runs: Runs) -> str:
    """How many cells are finished: of those that the plan asks for, and beside them of its gates and a ladder."""
    if not runs.planned:
        return str(len(runs.cells))
    beside = sum(cell.place not in runs.planned for cell in runs.cells)
    planned = f"{len(runs.cells) - beside} of {len(runs.planned)} planned"
    return f"{planned}, and {beside} beside them" if beside else planned


def _typed(runs: Runs, command: str) -> list[Point]:
    """What was typed to run the benchmark, where it was recorded, and to make this page."""
    typed = runs.manifest.details.get("command") if runs.manifest else None
    benchmark = [Point("Benchmark:", typed_without_places(str(typed)))] if typed else []
    return [*benchmark, Point("This page:", typed_without_places(command) if command else "made from Python")]


def _selectors(runs: Runs) -> list[str]:
    names = {cell.arm: cell.selector for cell in runs.cells}
    return [arm if names.get(arm) in (None, arm) else f"{arm} (selector {names[arm]})" for arm in runs.arms]


def _missing(f: Findings) -> list[Block]:
    runs = f.runs
    if not runs.planned:
        return [Paragraph("No plan was found beside the cells: what is missing cannot be said.", "warning")]
    blocks: list[Block] = []
    if missing := runs.missing:
        begun = set(runs.unfinished)
        words = [place.words + (" (begun)" if place in begun else "") for place in missing[:_SHOWN]]
        more = f"; and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        title = "Left out, since no task passed the gates" if f.stopped else "Missing cells"
        blocks.append(Paragraph(f"{title}, {len(missing)}: " + "; ".join(words) + more + ".", "warning"))
    else:
        blocks.append(Paragraph("Every planned cell is finished."))
    if lacking := _lacking(runs):
        blocks.append(Paragraph("Finished cells without scores of a task: " + "; ".join(lacking) + ".", "warning"))
    return blocks


def _diverged(runs: Runs) -> list[Block]:
    points = tuple(Point(f"{one.place.words}:", text_without_places(one.sentence)) for one in runs.diverged)
    note = "They are in no mean. A cell is tried again once its diverged.json is deleted."
    return [Points(points, f"Diverged, {plural(len(points), 'cell')}", note)] if points else []


def _lacking(runs: Runs) -> list[str]:
    """Tasks that some finished cell was scored on and another was not."""
    counts = Counter(task for cell in runs.cells for task in cell.scores)
    return [
        f"{task}: {_places([cell.place for cell in runs.cells if task not in cell.scores])}"
        for task, n in sorted(counts.items())
        if n < len(runs.cells)
    ]


def _places(places: Sequence[Place]) -> str:
    return listed([place.words for place in places[:_SHOWN]])


def _versions(runs: Runs) -> Table:
    versions = runs.manifest.versions if runs.manifest else {}
    here = installed_versions()
    names = sorted({*versions, *here})
    rows: list[tuple[Entry | str, ...]] = [(name, versions.get(name, "–"), here.get(name, "–")) for name in names]  # noqa: RUF001
    return Table("Versions", ("package", "of the runs", "of this report"), tuple(rows))
