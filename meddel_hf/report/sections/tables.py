"""Tables of the report: those that are shown, in the shape of the paper's, and those that are stored, a fact a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from meddel_hf import schema
from meddel_hf.benchmark.place import DISTINCT, FULL, LADDER, UNTRAINED, percent
from meddel_hf.benchmark.results import Cell, Runs, Target
from meddel_hf.report.document import Data, Entry, Table, Tone
from meddel_hf.report.entries import difference_entry
from meddel_hf.report.findings import Contrast, Findings, Level, counted, distinct, in_full

REASONS = ("near-duplicate", "outlier", "not-selected", "unreadable")
_NONE = "–"  # noqa: RUF001


def scores_table(f: Findings, target: Target) -> Table:
    """Table 3's shape: arms down, retentions across; in a cell the score, its interval, and NormDEL."""
    runs = f.runs
    rows: list[tuple[Entry | str, ...]] = []
    for arm in runs.arms:
        rows.append((arm, *(_score(f, target, arm, retention) for retention in runs.retentions)))
    beside = [(FULL, 1.0, "full pool, 100 %")]
    beside += [(arm, share, f"no near-duplicates, {100 * share:.3g} %") for arm, share in distinct(runs)]
    for arm, retention, name in (*beside, (UNTRAINED, 0.0, "no pre-training")):
        level = f.level(target, arm, retention)
        spans = max(len(runs.retentions), 1)
        rows.append((name, _entry(level, spans=spans) if level else Entry(_NONE, spans=spans)))
    rival = f"; ▲ higher and ▼ lower than {runs.rival} at the same retention" if runs.rival else ""
    note = f"{target.unit} as the mean over seeds, below it the "
    note += f"{f.draws.level:.0%} interval, then NormDEL (ND) at alpha = 1"
    note += (rival if f.passed(target) else "") + "."
    head = [f"{percent(r)} %" for r in runs.retentions] or [target.unit]
    return Table(target.name, ("", *head), tuple(rows), note, "scores.csv")


def _score(f: Findings, target: Target, arm: str, retention: float) -> Entry | str:
    level = f.level(target, arm, retention)
    if level is None:
        return _NONE
    contrast = f.contrast(target, arm, retention, f.runs.rival) if f.runs.rival and f.passed(target) else None
    if contrast is None or not contrast.difference.shown:
        return _entry(level)
    return _entry(level, "more" if contrast.verdict == "higher" else "less")


def _entry(level: Level, tone: Tone = "plain", spans: int = 1) -> Entry:
    s, sign = level.score, {"plain": "", "more": " ▲", "less": " ▼"}[tone]
    below = [f"{s.low:.3f}–\u2060{s.high:.3f}"]  # noqa: RUF001
    if level.normdel:
        below.append(f"ND {level.normdel.value:.3f}")
    return Entry(f"{s.value:.3f}{sign}", tuple(below), tone, spans)


def differences_table(f: Findings, target: Target, rival: str) -> Table | None:
    """Arms down, retentions across: the difference from a rival with its interval, or "no difference shown"."""
    contrasts = f.against(rival, target)
    retentions = [r for r in f.runs.retentions if any(c.retention == r for c in contrasts)]
    arms = [arm for arm in f.runs.arms if any(c.arm == arm for c in contrasts)]
    if not contrasts:
        return None
    rows = [(arm, *(_difference(f, target, arm, retention, rival) for retention in retentions)) for arm in arms]
    return Table(
        f"{target.name}: difference from {in_full(rival)}",
        ("", *(f"{percent(r)} %" for r in retentions)),
        tuple(rows),
        "Paired over seeds and frames; below, the interval. Faint: the interval contains zero, no difference shown.",
        "differences.csv",
    )


def _difference(f: Findings, target: Target, arm: str, retention: float, rival: str) -> Entry | str:
    contrast = f.contrast(target, arm, retention, rival)
    return _NONE if contrast is None else difference_entry(contrast.difference)


def overview_table(f: Findings, rival: str) -> Table | None:
    """Arms down, retentions across: on how many test sets that passed the gate an arm is higher or lower."""
    contrasts = f.against(rival)
    if not contrasts:
        return None
    arms = [arm for arm in f.runs.arms if any(c.arm == arm for c in contrasts)]
    rows = [
        (arm, *(_tally([c for c in contrasts if (c.arm, c.retention) == (arm, r)]) for r in f.runs.retentions))
        for arm in arms
    ]
    return Table(
        f"Against {in_full(rival)}",
        ("", *(f"{percent(r)} %" for r in f.runs.retentions)),
        tuple(rows),
        f"Of {counted(f.comparable)} that passed the gate: higher ▲, lower ▼, and how many "
        "show no difference; –: no difference shown on any.",  # noqa: RUF001
        "differences.csv",
    )


def _tally(contrasts: Sequence[Contrast]) -> Entry | str:
    if not contrasts:
        return _NONE
    higher, lower = (sum(c.verdict == word for c in contrasts) for word in ("higher", "lower"))
    same = len(contrasts) - higher - lower
    tone: Tone = "more" if higher > lower else "less" if lower > higher else "plain"
    said = " ".join([f"{higher} ▲"] * (higher > 0) + [f"{lower} ▼"] * (lower > 0))
    return Entry(said or _NONE, (f"{same} no difference",) if said and same else (), tone)


def time_table(runs: Runs) -> Table:
    """Table 4's question, what pre-training costs: equal samples, hence equal time, whatever the retention."""
    rows: list[tuple[Entry | str, ...]] = []
    for (arm, retention), cells in _columns(runs).items():
        rows.append(
            (
                f"{arm}, {percent(retention)} %",
                _count(_mean(cell.frames for cell in cells)),
                _count(_mean(cell.samples for cell in cells)),
                _count(_mean(cell.epochs for cell in cells)),
                _time(_mean(cell.facts.get("seconds_selection") for cell in cells)),
                _time(_mean(cell.facts.get("seconds_pretraining") for cell in cells)),
            )
        )
    return Table(
        "Pre-training: frames kept, views seen, and time",
        ("cell", "frames", "samples", "epochs", "selection", "pre-training"),
        tuple(rows),
        "Means over seeds. Samples are views seen, epochs = samples / frames; every retention trains equally long, "
        "so a smaller one saves storage, not time.",
        "cells.csv",
    )


def kept_by(runs: Runs, places: Mapping[str, str]) -> dict[tuple[str, float], dict[str, tuple[float, int]]]:
    """(arm, retention) -> origin -> (frames kept, mean over seeds; frames in the pool).

    places: id -> centre or source; of an id that it does not hold, the part before the first slash counts.
    """
    by_arm = {}
    for column, cells in _columns(runs).items():
        rows = [cell.rows for cell in cells if cell.rows is not None]
        if not rows:
            continue
        kept: Counter[str] = Counter()
        for table in rows:
            ids = table.filter(table[schema.KEPT])[schema.ID].to_pylist()
            kept.update(places.get(id, id.split("/")[0]) for id in ids)
        pool = Counter(places.get(id, id.split("/")[0]) for id in rows[0][schema.ID].to_pylist())
        by_arm[column] = {place: (kept[place] / len(rows), n) for place, n in sorted(pool.items())}
    return by_arm


def removed(runs: Runs) -> dict[tuple[str, float], dict[str, float]]:
    """(arm, retention) -> reason, or "kept" -> frames, mean over seeds."""
    by_arm = {}
    for column, cells in _columns(runs).items():
        rows = [cell.rows for cell in cells if cell.rows is not None]
        if not rows:
            continue
        counts: Counter[str] = Counter()
        for table in rows:
            counts.update(reason or "kept" for reason in table[schema.REASON].to_pylist())
        by_arm[column] = {reason: counts[reason] / len(rows) for reason in ("kept", *REASONS)}
    return by_arm


def stored(f: Findings, places: Mapping[str, str]) -> tuple[Data, ...]:
    """Every number of the report, in full, as CSV."""
    return (
        Data("scores", _SCORES, tuple(_score_row(level) for level in f.levels)),
        Data(
            "seeds",
            ("task", "set", "arm", "retention", "seed", "measure", "score"),
            tuple((*_key(v), seed, v.measure, score) for v in f.levels for seed, score in v.by_seed.items()),
        ),
        Data(
            "differences",
            ("task", "set", "arm", "retention", "against", "measure", "difference", "low", "high", "shown",
             "holds_with_all", "seeds", "gate_passed"),
            tuple(
                (*_key(c), c.against, c.target.measure, c.difference.value, c.difference.low, c.difference.high,
                 c.difference.shown, c.holds_with_all, len(c.seeds), f.passed(c.target))
                for c in f.contrasts
            ),
        ),
        Data(
            "curves",
            ("task", "set", "arm", "retention", "samples", "epochs", "score", "low", "high", "seeds"),
            tuple(
                (*_key(p), p.samples, p.epochs, p.score.value, p.score.low, p.score.high, p.seeds) for p in f.curves
            ),
        ),
        Data(
            "cells",
            _CELLS,
            tuple(_cell_row(cell) for cell in sorted(f.runs.cells, key=lambda c: c.place) if cell.arm != LADDER),
        ),
        Data(
            "removed",
            ("arm", "retention", "kept", *REASONS),
            tuple((*column, *counts.values()) for column, counts in removed(f.runs).items()),
        ),
        Data(
            "origins",
            ("arm", "retention", "origin", "pool", "kept"),
            tuple(
                (*column, place, n, kept)
                for column, origins in kept_by(f.runs, places).items()
                for place, (kept, n) in origins.items()
            ),
        ),
    )  # fmt: skip


_SCORES = (
    "task", "set", "arm", "retention", "measure", "score", "low", "high", "normdel", "normdel_low", "normdel_high",
    "seeds", "frames",
)  # fmt: skip
_CELLS = (
    "arm", "retention", "seed", "selector", "frames", "samples", "epochs", "seconds_selection", "seconds_pretraining",
    "device", "tasks",
)  # fmt: skip


def _key(x: object) -> tuple[str, str, str, float]:
    return x.target.task, x.target.set, x.arm, x.retention  # type: ignore[attr-defined]


def _score_row(v: Level) -> tuple[object, ...]:
    n = v.normdel
    index = (n.value, n.low, n.high) if n else (None, None, None)
    return (*_key(v), v.measure, v.score.value, v.score.low, v.score.high, *index, len(v.by_seed), v.frames)


def _cell_row(cell: Cell) -> tuple[object, ...]:
    get = cell.facts.get
    times = (get("seconds_selection"), get("seconds_pretraining"))
    tasks = " ".join(sorted(cell.scores))
    return (cell.arm, cell.retention, cell.seed, cell.selector, cell.frames, cell.samples, cell.epochs, *times,
            get("device"), tasks)  # fmt: skip


def _columns(runs: Runs) -> dict[tuple[str, float], list[Cell]]:
    """Cells by arm and retention, in the order of the report: the full pool, no pre-training, then the arms."""
    order = {arm: i for i, arm in enumerate((FULL, UNTRAINED, DISTINCT, *runs.arms))}
    groups: dict[tuple[str, float], list[Cell]] = {}
    for cell in sorted(
        (cell for cell in runs.cells if cell.arm != LADDER),
        key=lambda cell: (order[cell.arm], cell.retention, cell.seed),
    ):
        groups.setdefault((cell.arm, cell.retention), []).append(cell)
    return groups


def _mean(values: object) -> float | None:
    known = [value for value in values if value is not None]  # type: ignore[attr-defined]
    return sum(known) / len(known) if known else None


def _count(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    return f"{seconds / 60:,.1f} min" if seconds >= 90 else f"{seconds:.1f} s"
