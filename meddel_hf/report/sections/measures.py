"""Without training: what each selection covers, as the mean over seeds."""

from __future__ import annotations

from meddel_hf.benchmark.measures import KINDS, Kind, OverSeeds, over_seeds
from meddel_hf.benchmark.place import percent
from meddel_hf.report.document import Block, Data, Entry, Paragraph, Section, Table
from meddel_hf.report.findings import Findings, distinct

_COLUMNS = ("arm", "retention", "measure", "value", "low", "high", "seeds", "pool")
_WHAT = (
    "What the selections hold, told from the frames and their embeddings alone; nothing here was trained. More scenes, "
    "classes and centres, and more effective frames, is more of the pool's variety in as many frames; whether that "
    "teaches more is what the scores say."
)
_NOTES = {
    "scenes": "Videos, sequences or patients, as the pool names them, of which at least one frame is kept",
    "labels": "Classes (the pool's column label) of which at least one frame is kept",
    "centers": "Centres (the pool's column center) of which at least one frame is kept",
    "farthest": "Cosine of the frame that is least like anything kept to the kept frame nearest to it: higher is a "
    "closer cover; one odd frame decides it",
    "effective": "Vendi score of the kept frames: how many wholly different frames would be as diverse",
}
_NONE = "–"  # noqa: RUF001


def measures_section(f: Findings) -> Section:
    """A table for each measure that is known of some selection; no blocks where none is, as in older runs."""
    tables = [table for kind in KINDS if (table := _table(f, kind)) is not None]
    blocks: tuple[Block, ...] = (Paragraph(_WHAT), *tables) if tables else ()
    return Section("measures", "Without training", blocks)


def measures_data(f: Findings) -> tuple[Data, ...]:
    """measures.csv; nothing where nothing was measured."""
    rows = []
    for arm, retention in _places(f):
        for kind in KINDS:
            if (over := _over(f, kind, arm, retention)) is not None:
                rows.append((arm, retention, kind.name, over.value, over.low, over.high, over.seeds, over.pool))
    return (Data("measures", _COLUMNS, tuple(rows)),) if rows else ()


def _places(f: Findings) -> list[tuple[str, float]]:
    return [(arm, retention) for arm in f.runs.arms for retention in f.runs.retentions] + distinct(f.runs)


def _over(f: Findings, kind: Kind, arm: str, retention: float) -> OverSeeds | None:
    runs = f.runs.measured(arm, retention)
    return over_seeds(kind, [runs[seed] for seed in sorted(runs)], f.draws.level)


def _table(f: Findings, kind: Kind) -> Table | None:
    """Arms down, retentions across, as the scores; then what the pool itself holds."""
    known = [over for arm, retention in _places(f) if (over := _over(f, kind, arm, retention)) is not None]
    if not known:
        return None
    rows: list[tuple[Entry | str, ...]] = []
    for arm in f.runs.arms:
        rows.append((arm, *(_entry(kind, _over(f, kind, arm, retention)) for retention in f.runs.retentions)))
    spans = max(len(f.runs.retentions), 1)
    for arm, share in distinct(f.runs):
        name = f"no near-duplicates, {100 * share:.3g} %"
        rows.append((name, _entry(kind, _over(f, kind, arm, share), spans)))
    if known[0].pool is not None:
        rows.append(("full pool, 100 %", Entry(kind.of_pool(known[0].pool), spans=spans)))
    note = _NOTES[kind.name]
    if max(over.seeds for over in known) > 1:
        note += f"; mean over seeds, below it the {f.draws.level:.0%} t interval"
    head = [f"{percent(r)} %" for r in f.runs.retentions] or [kind.words]
    title = f"{kind.words[0].upper()}{kind.words[1:]}"
    return Table(title, ("", *head), tuple(rows), f"{note}.", "measures.csv")


def _entry(kind: Kind, over: OverSeeds | None, spans: int = 1) -> Entry:
    if over is None:
        return Entry(_NONE, spans=spans)
    places = kind.decimals
    below: tuple[str, ...] = ()
    if over.low is not None:
        same = over.low == over.high
        below = ("in every seed",) if same else (f"{over.low:,.{places}f}\u00a0to {over.high:,.{places}f}",)
    return Entry(f"{over.value:,.{places}f}", below, spans=spans)
