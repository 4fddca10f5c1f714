"""Choosing what to label: for each task a figure and a table, and the numbers in full."""

from __future__ import annotations

from collections.abc import Mapping

from meddel_hf.benchmark.results import in_words
from meddel_hf.downstream.intervals import expected_by_chance
from meddel_hf.downstream.labels.outcomes import Line, Outcomes
from meddel_hf.report.document import Block, Data, Entry, Gallery, Paragraph, Section, Table, listed, signed
from meddel_hf.report.figures.choices import choices
from meddel_hf.runtime.words import plural

_COLUMNS = (
    "task", "arm", "budget", "frames", "measure", "score", "overlap", "difference", "low", "high", "shown",
    "cautious_low", "cautious_high", "splits",
)  # fmt: skip
_WHAT = (
    "In each split every selector chooses frames of the training part, without a label; a head on frozen features "
    "learns from those alone and is tested on the rest. No encoder was trained for it."
)


def label_choices(labels: Mapping[str, Outcomes], level: float) -> Section:
    """labels: task -> what came out. level: of the intervals."""
    blocks: list[Block] = [Paragraph(_WHAT)] if labels else []
    for task, outcomes in labels.items():
        lines = outcomes.lines(level=level)
        picture = choices(task, outcomes, lines)
        blocks += [Gallery((picture,))] if picture else []
        blocks += [_table(task, outcomes, lines, level), Paragraph(_tally(lines, level), "note")]
    return Section("labels", "Choosing what to label", tuple(blocks))


def label_headline(labels: Mapping[str, Outcomes], level: float) -> str:
    """One sentence on all tasks: which arms are above random somewhere, and which below."""
    lines = [line for outcomes in labels.values() for line in outcomes.lines(level=level)]
    above, below = (list(dict.fromkeys(line.arm for line in lines if _is(line, sign))) for sign in (1, -1))
    parts = [f"above random at some budget: {listed(above)}"] if above else []
    parts += [f"below random at some: {listed(below)}"] if below else []
    where = f"Choosing what to label, {plural(len(labels), 'task')}"
    return f"{where}: {'; '.join(parts) or 'no difference from random is shown'}."


def label_data(labels: Mapping[str, Outcomes], level: float) -> Data:
    """Every line of every task, as CSV."""
    rows = []
    for task, outcomes in labels.items():
        for line in outcomes.lines(level=level):
            d, c = line.versus_random, line.cautious
            numbers = (d.value, d.low, d.high, d.shown) if d else (None,) * 4
            ends = (c.low, c.high) if c else (None, None)
            facts = (task, line.arm, line.budget, line.frames, outcomes.measure, line.mean, line.overlap)
            rows.append((*facts, *numbers, *ends, outcomes.splits))
    return Data("labels", _COLUMNS, tuple(rows))


def _is(line: Line, sign: int) -> bool:
    return line.versus_random is not None and line.versus_random.shown and line.versus_random.value * sign > 0


def _table(task: str, outcomes: Outcomes, lines: list[Line], level: float) -> Table:
    by_place = {(line.arm, line.budget): line for line in lines}
    arms = [outcomes.random, *(arm for arm in outcomes.arms if arm != outcomes.random)]
    rows: list[tuple[Entry | str, ...]] = [
        (arm, *(_entry(by_place[arm, budget]) for budget in outcomes.budgets)) for arm in arms
    ]
    note = (
        f"{in_words(outcomes.measure)} of {outcomes.random}, then differences from it, paired over {outcomes.splits} "
        f"splits; below, the corrected resampled {level:.0%} interval. Faint: it contains zero, no difference shown. A "
        "dagger: clear of zero too where splits are taken to correlate by the share of frames that they choose alike."
    )
    heads = [_head(by_place[outcomes.random, budget]) for budget in outcomes.budgets]
    return Table(f"{task}: {plural(len(arms), 'selector')}", ("", *heads), tuple(rows), note, "labels.csv")


def _head(line: Line) -> str:
    return f"{line.budget} ({line.frames:,})" if line.budget.endswith("%") else f"{line.budget} frames"


def _entry(line: Line) -> Entry:
    d = line.versus_random
    if d is None:
        return Entry(f"{line.mean:.3f}")
    between = (f"{signed(d.low)}\u00a0to {signed(d.high)}",)
    if not d.shown:
        return Entry(signed(d.value), between, "faint")
    dagger = " †" if line.cautious is not None and line.cautious.shown else ""
    return Entry(signed(d.value) + dagger, between, "more" if d.value > 0 else "less")


def _tally(lines: list[Line], level: float) -> str:
    above, below = (sum(_is(line, sign) for line in lines) for sign in (1, -1))
    compared = sum(line.versus_random is not None for line in lines)
    return (
        f"{above} of {plural(compared, 'difference')} clear of zero above random, {below} below; if nothing "
        f"differed at all, about {expected_by_chance(compared, level):.1f} would be by chance."
    )
