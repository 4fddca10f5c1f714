"""The gates: a table for each, and their numbers in full."""

from __future__ import annotations

from meddel_hf.benchmark.place import percent
from meddel_hf.benchmark.results import in_words
from meddel_hf.benchmark.verdicts import Verdict
from meddel_hf.report.document import Data, Entry, Table, signed
from meddel_hf.report.findings import Findings

_COLUMNS = (
    "task", "measure", "full", "untrained", "difference", "low", "high", "passed", "recorded", "can_rank", "headroom",
    "random", "best", "by", "headroom_difference", "headroom_low", "headroom_high", "retention",
)  # fmt: skip
_OF = {"full": "full pool", "distinct": "near-duplicates out"}


def gate_tables(f: Findings) -> list[Table]:
    """Of learning; and of headroom, where it was decided of some task."""
    tables = [_learning(f)]
    if any(verdict.headroom for verdict in f.verdicts.values()):
        tables.append(_headroom(f))
    return tables


def gate_data(f: Findings) -> Data:
    """Both gates of every task; without a second one its columns are empty."""
    return Data("gate", _COLUMNS, tuple(_row(task, verdict) for task, verdict in f.verdicts.items()))


def _learning(f: Findings) -> Table:
    rows: list[tuple[Entry | str, ...]] = []
    for task, v in f.verdicts.items():
        difference = Entry(signed(v.difference), (_between(v.low, v.high),))
        rows.append((task, _said(v, v.passed), difference, f"{v.full:.3f}", f"{v.untrained:.3f}", in_words(v.measure)))
    return Table(
        "The gate: the full pool against no pre-training",
        ("task", "gate", "difference", "full", "untrained", "measure"),
        tuple(rows),
        f"A task passes where the {_level(f)}interval of the difference lies above zero.",
        "gate.csv",
    )


def _headroom(f: Findings) -> Table:
    rows: list[tuple[Entry | str, ...]] = []
    for task, v in f.verdicts.items():
        h = v.headroom
        if h is not None:
            difference = Entry(signed(h.difference), (_between(h.low, h.high),))
            best, random = (
                Entry(f"{h.best:.3f}", (_OF[h.by],)),
                Entry(f"{h.random:.3f}", (f"{percent(h.retention)} %",)),
            )
            rows.append((task, _said(v, h.passed), difference, best, random, in_words(v.measure)))
    return Table(
        "The second gate: is there anything to choose?",
        ("task", "gate", "difference", "best", "random", "measure"),
        tuple(rows),
        "A task passes where the full pool, or the pool without its near-duplicates, is above random at the smallest "
        f"retention, the {_level(f)}interval clear of zero, which is widened where both are compared; the better "
        "of the two is shown.",
        "gate.csv",
    )


def _level(f: Findings) -> str:
    """Of the intervals by which the gates were decided; nothing where gate.json does not tell."""
    level = f.draws.level if f.runs.gate is None else f.runs.gate.level
    return "" if level is None else f"{percent(level)} % "


def _said(v: Verdict, passed: bool) -> Entry:
    whence = () if v.recorded else ("judged from the cells",)
    return Entry("passed", whence, "more") if passed else Entry("not passed", whence, "less")


def _between(low: float, high: float) -> str:
    return f"{signed(low)} to {signed(high)}"


def _row(task: str, v: Verdict) -> tuple[object, ...]:
    h = v.headroom
    room = (h.passed, h.random, h.best, h.by, h.difference, h.low, h.high, h.retention) if h else (None,) * 8
    learned = (v.measure, v.full, v.untrained, v.difference, v.low, v.high, v.passed, v.recorded)
    return (task, *learned, v.can_rank, *room)
