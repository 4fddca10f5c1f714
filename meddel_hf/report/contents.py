"""The report from top to bottom: which section holds which tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from meddel_hf import schema
from meddel_hf.report.answer import answer
from meddel_hf.report.document import Block, Document, Paragraph, Section, plural
from meddel_hf.report.findings import Findings
from meddel_hf.report.limits import flips, limits
from meddel_hf.report.reading import FULL
from meddel_hf.report.record import record
from meddel_hf.report.tables import differences_table, scores_table, stored

if TYPE_CHECKING:
    from datasets import Dataset


def contents(f: Findings, pool: Dataset | None, figures: Path, command: str) -> Document:
    """figures: folder in which contact sheets are drawn, where there is a pool."""
    places = origins(pool)
    sections = [
        answer(f),
        Section("scores", "Scores and NormDEL", tuple(_scores(f))),
        limits(f, []),
        record(f, command),
    ]
    runs = f.runs
    facts = [plural(len(runs.cells), "cell"), plural(len(runs.seeds), "seed"), plural(len(runs.targets), "test set")]
    return Document(_title(f), ", ".join(facts) + ".", tuple(sections), (*stored(f, places), flips(f)))


def origins(pool: Dataset | None) -> dict[str, str]:
    """id -> its centre, or its source where the pool tells no centre; empty without a pool that tells either."""
    columns = [name for name in (schema.CENTER, schema.SOURCE) if pool is not None and name in pool.column_names]
    if pool is None or not columns or schema.ID not in pool.column_names:
        return {}
    rows = zip(pool[schema.ID], *(pool[name] for name in columns), strict=True)
    return {id: next((str(name) for name in names if name is not None), "unknown") for id, *names in rows}


def _title(f: Findings) -> str:
    plan = (f.runs.manifest.details.get("plan") or {}) if f.runs.manifest else {}
    name = plan.get("name") if isinstance(plan, Mapping) else None
    return f"Does the selection matter? {name or f.runs.folder.resolve().name}"


def _scores(f: Findings) -> list[Block]:
    blocks: list[Block] = []
    for target in f.runs.targets:
        blocks.append(scores_table(f, target))
        if f.passed(target):
            for rival in filter(None, (f.runs.rival, FULL)):
                if table := differences_table(f, target, rival):
                    blocks.append(table)
        else:
            blocks.append(Paragraph("Did not pass the gate: shown, not ranked.", "warning"))
    return blocks
