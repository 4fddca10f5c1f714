"""The report of a plan that names redundancies: where choosing begins to pay, and a report of each level."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from meddel_hf.benchmark.axis import folder
from meddel_hf.benchmark.place import percent
from meddel_hf.benchmark.results import Target
from meddel_hf.report.document import (
    Block,
    Data,
    Document,
    Entry,
    Gallery,
    Paragraph,
    Point,
    Points,
    Section,
    Table,
    listed,
    signed,
)
from meddel_hf.report.entries import difference_entry
from meddel_hf.report.figures.axis import gains
from meddel_hf.report.findings import Contrast, Findings
from meddel_hf.report.levels import Axis, compared_at, gained
from meddel_hf.runtime.words import plural

_COLUMNS = (
    "redundancy", "near_duplicates", "task", "set", "measure", "arm", "retention", "difference", "low", "high", "seeds",
    "can_rank",
)  # fmt: skip
_WHAT = (
    "Each level is the same number of frames of the same pool, of which the share that is named are near-copies of a "
    "few others. A gain is an arm's score less that of random at the same retention, paired over seeds and frames; "
    "faint: its interval contains zero, no difference shown. Choosing is said to pay where a gain of several seeds "
    "still holds with all intervals of its level widened to hold at once. Where no selector was run, nothing was to "
    "choose."
)


def headline(axis: Axis) -> str:
    """In a sentence, for one who reads no statistics."""
    pays = [share for share, f in axis.levels.items() if any(_wins(f, c) for c in gained(f))]
    if not pays:
        return "At none of these redundancies is a selector shown to be better than random."
    tried = list(axis.levels)
    if not pays[0]:
        return "Choosing pays in the pool as it is, before any near-copies are added."
    first = f"Choosing begins to pay where {percent(pays[0])} % of the pool are near-copies"
    below = [share for share in tried if share < pays[0]]
    if not below:
        return f"{first}, the least that was tried."
    return f"{first}; at {listed([f'{percent(s)} %' for s in below])} it is not shown to."


def axis_document(axis: Axis) -> Document:
    """The page; the levels' own reports stand in folders beside it."""
    blocks: list[Block] = [
        Paragraph(headline(axis), "lead"),
        Points(tuple(_point(s, f) for s, f in axis.levels.items())),
    ]
    blocks += [Paragraph(_WHAT, "note"), Gallery(tuple(gains(axis, target) for target in axis.targets))]
    tables = tuple(_table(axis, target) for target in axis.targets)
    sections = (Section("axis", "Where choosing begins to pay", tuple(blocks)), Section("gains", "Gains", tables))
    levels = plural(len(axis.levels), "level of redundancy", "levels of redundancy")
    return Document(
        f"Does the selection matter? {axis.name}", levels, tuple(s for s in sections if s.blocks), (_data(axis),)
    )


def _wins(f: Findings, c: Contrast) -> bool:
    """A gain of several seeds that still holds where all of its level are to hold at once."""
    return f.passed(c.target) and c.verdict == "higher" and c.holds_with_all and len(c.seeds) > 1


def _point(share: float, f: Findings) -> Point:
    near_duplicates = _near_duplicates(f)
    said = [] if near_duplicates is None else [f"{near_duplicates:.0%} go as near-duplicates"]
    passed = sorted({target.judged for target in f.comparable})
    said.append(f"selectors can be told apart on {listed(passed)}" if passed else "nothing to choose, or to learn")
    best = max((c for c in gained(f) if _wins(f, c)), key=lambda c: c.difference.value, default=None)
    if best is not None:
        said.append(f"largest gain {signed(best.difference.value)}, {best.arm} on {best.target.name}")
    return Point(f"{percent(share)} %:", f"{'; '.join(said)}. Its report: {folder(Path(), share)}/report.html")


def _retentions(axis: Axis) -> list[str]:
    compared = {retention for f in axis.levels.values() if (retention := compared_at(f)) is not None}
    return [percent(retention) for retention in sorted(compared)]


def _near_duplicates(f: Findings) -> float | None:
    """Share of the level's pool that goes as near-duplicates, where the gates asked."""
    gate = f.runs.gate
    return gate.redundancy.share if gate and gate.redundancy else None


def _table(axis: Axis, target: Target) -> Table:
    by_share = axis.gains(target)
    arms = list(dict.fromkeys(c.arm for contrasts in by_share.values() for c in contrasts))
    rows = []
    for arm in arms:
        cells: list[Entry | str] = [arm]
        for share, contrasts in by_share.items():
            there = next((c for c in contrasts if c.arm == arm), None)
            cells.append(_entry(axis.levels[share], there))
        rows.append(tuple(cells))
    note = f"{target.unit}, gain over random at {listed(_retentions(axis))} %; below, the interval."
    return Table(target.name, ("arm", *(f"{percent(share)} %" for share in by_share)), tuple(rows), note, "axis.csv")


def _entry(f: Findings, c: Contrast | None) -> Entry | str:
    if c is None:
        return "–"  # noqa: RUF001
    entry = difference_entry(c.difference)
    if f.passed(c.target):
        return entry
    return replace(entry, below=(*entry.below, "did not pass the gates"), tone="faint")


def _data(axis: Axis) -> Data:
    rows = []
    for share, f in axis.levels.items():
        near_duplicates = _near_duplicates(f)
        for c in gained(f):
            d = c.difference
            of = (c.target.task, c.target.set, c.target.measure, c.arm, c.retention)
            rows.append((share, near_duplicates, *of, d.value, d.low, d.high, len(c.seeds), f.passed(c.target)))
    return Data("axis", _COLUMNS, tuple(rows))
