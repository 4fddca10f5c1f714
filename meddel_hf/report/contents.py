"""The report from top to bottom: which section holds which tables and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from meddel_hf import schema
from meddel_hf.benchmark.cells import SELECTION
from meddel_hf.benchmark.place import FULL, percent
from meddel_hf.benchmark.results import Cell
from meddel_hf.report.document import (
    Block,
    Document,
    Gallery,
    Paragraph,
    Picture,
    Point,
    Points,
    Section,
    Sheet,
    listed,
    slug,
)
from meddel_hf.report.figures.lines import alpha_curve, retention_curve, training_curve
from meddel_hf.report.figures.maps import carried_over, removals, vanished
from meddel_hf.report.figures.spreads import boxes, differences
from meddel_hf.report.findings import Findings, counted
from meddel_hf.report.sections.answer import answer
from meddel_hf.report.sections.choices import label_choices, label_data
from meddel_hf.report.sections.gates import gate_data
from meddel_hf.report.sections.ladder import ladder_data, ladder_section
from meddel_hf.report.sections.limits import flips, limits
from meddel_hf.report.sections.measures import measures_data, measures_section
from meddel_hf.report.sections.record import record
from meddel_hf.report.sections.tables import differences_table, kept_by, removed, scores_table, stored
from meddel_hf.runtime.network import without_places
from meddel_hf.runtime.words import plural
from meddel_hf.selection.pictures import draw_duplicates
from meddel_hf.selection.selection import Selection

if TYPE_CHECKING:
    from datasets import Dataset

NOT_RANKED = "Did not pass the gate: shown, not ranked."


def contents(f: Findings, pool: Dataset | None, figures: Path, command: str) -> Document:
    """figures: folder in which contact sheets are drawn, where there is a pool."""
    labels = label_choices(f.runs.labels, f.draws.level)
    stored_labels = (label_data(f.runs.labels, f.draws.level),) if f.runs.labels else ()
    if not f.runs.cells:
        sections = _with_names_apart([labels, record(f, command)])
        return Document(_title(f), plural(len(f.runs.labels), "task"), sections, stored_labels)
    chosen_from = pool if pool is not None else f.runs.pool
    places = origins(chosen_from)
    parts = [
        answer(f),
        ladder_section(f),
        Section("scores", "Scores and NormDEL", tuple(_scores(f))),
        Section("frames", "Frame by frame, and over training", tuple(_frames(f))),
        Section("sets", "Carried over to other sets", tuple(_sets(f))),
        measures_section(f),
        Section("kept", "What was kept", (*_kept(f, places, _word(chosen_from)), *_sheets(f, pool, figures))),
        labels,
        limits(f, _gallery(alpha_curve(f, target) for target in f.runs.homes if f.passed(target))),
        record(f, command),
    ]
    runs = f.runs
    facts = [plural(len(runs.cells), "cell"), plural(len(runs.seeds), "seed"), counted(runs.targets)]
    sections = _with_names_apart([section for section in parts if section.blocks])
    data = (*stored(f, places), gate_data(f), flips(f), *measures_data(f), *ladder_data(f), *stored_labels)
    return Document(_title(f), ", ".join(facts), sections, data)


def origins(pool: Dataset | pa.Table | None) -> dict[str, str]:
    """id -> centre, or else source, of every row of the pool; empty where the pool does not tell."""
    names = [] if pool is None else pool.column_names
    columns = [name for name in (schema.CENTER, schema.SOURCE) if name in names]
    if pool is None or not columns or schema.ID not in names:
        return {}
    table = pool if isinstance(pool, pa.Table) else pool.with_format("arrow").select_columns([schema.ID, *columns])[:]
    rows = zip(*(table[name].to_pylist() for name in (schema.ID, *columns)), strict=True)
    return {str(id): next((str(name) for name in names if name), "unknown") for id, *names in rows}


def _word(pool: Dataset | pa.Table | None) -> str:
    """What the origins of the pool's frames are called: centres where some frame names one, else sources."""
    if pool is None or schema.CENTER not in pool.column_names:
        return "source"
    table = pool if isinstance(pool, pa.Table) else pool.with_format("arrow").select_columns([schema.CENTER])[:]
    return "centre" if any(table[schema.CENTER].to_pylist()) else "source"


def _title(f: Findings) -> str:
    plan = (f.runs.manifest.details.get("plan") or {}) if f.runs.manifest else {}
    name = plan.get("name") if isinstance(plan, Mapping) else None
    return f"Does the selection matter? {without_places(name) or f.runs.folder.resolve().name}"


def _scores(f: Findings) -> list[Block]:
    blocks: list[Block] = []
    rivals = [rival for rival in (f.runs.rival, FULL) if rival]
    for target in f.runs.targets:
        if not f.passed(target):
            blocks += [
                *_gallery([retention_curve(f, target)]),
                Paragraph(NOT_RANKED, "warning"),
                scores_table(f, target),
            ]
            continue
        shown = rivals if target in f.runs.homes else rivals[:1]
        blocks += _gallery([retention_curve(f, target), *(differences(f, target, rival) for rival in shown)])
        blocks.append(scores_table(f, target))
        blocks += [table for rival in rivals[:1] if (table := differences_table(f, target, rival))]
    return blocks


def _frames(f: Findings) -> list[Block]:
    return _gallery(boxes(f, t) for t in f.runs.homes) + _gallery(training_curve(f, t) for t in f.runs.homes)


def _sets(f: Findings) -> list[Block]:
    """The full pool, and every arm at the lowest retention, where differences show first."""
    shown = [(FULL, 1.0), *((arm, retention) for arm in f.runs.arms for retention in f.runs.retentions[:1])]
    measures = dict.fromkeys(target.measure for target in f.runs.targets if not (target.only or target.series))
    return _gallery(carried_over(f, measure, arm, retention) for measure in measures for arm, retention in shown)


def _kept(f: Findings, places: Mapping[str, str], word: str) -> list[Block]:
    """word: what the places are, "centre" or "source"."""
    by = kept_by(f.runs, places)
    gone: dict[tuple[str, tuple[str, ...]], list[str]] = {}  # (arm, what is gone) -> at which retentions
    for (arm, retention), centres in by.items():
        names = [f"{name} ({plural(n, 'frame')})" for name, (kept, n) in centres.items() if not kept]
        if names:
            gone.setdefault((arm, tuple(names)), []).append(percent(retention))
    points = tuple(
        Point(f"{arm} at {listed(at)} %:", f"nothing of {listed(names)}.") for (arm, names), at in gone.items()
    )
    blocks = _gallery([removals(removed(f.runs))]) + _gallery(vanished(by, r, word) for r in f.runs.retentions)
    return [*blocks, Points(points, f"Who vanished: every {word} of which no frame is left")] if points else blocks


def _sheets(f: Findings, pool: Dataset | None, folder: Path) -> list[Block]:
    """Near-duplicates that an arm dropped at its lowest retention, seen; nothing without a pool."""
    sheets: list[Block] = []
    for arm in f.runs.arms if pool is not None else ():
        cell = min((c for c in f.runs.cells if c.arm == arm), key=lambda c: (c.retention, c.seed))
        at = f"{arm} at {percent(cell.retention)} %"
        folder.mkdir(exist_ok=True)
        path = folder / f"{slug('duplicates', str(len(sheets)), arm)}.png"
        if cell.rows is not None and draw_duplicates(_selection(cell), pool, path):
            caption = f"{at}, seed {cell.seed}: the largest groups of near-duplicates, kept frame first."
            sheets.append(Sheet(path, caption, f"Contact sheet of near-duplicates that {at} dropped"))
    return sheets


def _selection(cell: Cell) -> Selection:
    return Selection.load(cell.folder / SELECTION, trust=cell.trust)


def _gallery(pictures: Iterable[Picture | None]) -> list[Block]:
    """A caption that all of several pictures share is said once."""
    drawn = tuple(picture for picture in pictures if picture is not None)
    if len(drawn) > 1 and len({picture.caption for picture in drawn}) == 1:
        return [Gallery(tuple(replace(picture, caption="") for picture in drawn), drawn[0].caption)]
    return [Gallery(drawn)] if drawn else []


def _with_names_apart(sections: Iterable[Section]) -> tuple[Section, ...]:
    """Labels that differ in signs only would give files of one name: those are numbered."""
    seen: Counter[str] = Counter()

    def named(picture: Picture) -> Picture:
        seen[picture.name] += 1
        n = seen[picture.name]
        return picture if n == 1 else replace(picture, name=f"{picture.name}--{n}")

    def block(block: Block) -> Block:
        return replace(block, pictures=tuple(map(named, block.pictures))) if isinstance(block, Gallery) else block

    return tuple(replace(section, blocks=tuple(block(b) for b in section.blocks)) for section in sections)
