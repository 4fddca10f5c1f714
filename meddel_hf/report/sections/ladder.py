"""The ladder: how a score grows with randomly chosen frames, and in a sentence how few of them are enough."""

from __future__ import annotations

from meddel_hf.benchmark.ladder import Ladder, Rung
from meddel_hf.benchmark.place import percent
from meddel_hf.report.document import Block, Data, Entry, Gallery, Paragraph, Section, Table
from meddel_hf.report.entries import difference_entry
from meddel_hf.report.figures.ladder import curve
from meddel_hf.report.findings import Findings

_COLUMNS = (
    "task", "set", "retention", "frames", "measure", "score", "low", "high", "difference", "difference_low",
    "difference_high", "seeds",
)  # fmt: skip
_WHAT = (
    "Random subsets of growing size, pre-trained on with as many samples as all frames are. No selector chose them: "
    "where a few random frames do what all do, there is nothing to choose. Enough is the smallest number of frames "
    "from which on none is shown to be below all; that is not equality, and the largest loss that is not excluded is "
    "said with it."
)


def ladder_section(f: Findings) -> Section:
    """Empty where no ladder was run."""
    blocks: list[Block] = []
    if f.ladders:
        blocks = [Paragraph(one.sentence) for one in f.ladders]
        blocks += [Paragraph(_WHAT, "note"), Gallery(tuple(curve(f, one) for one in f.ladders))]
        blocks += [_table(one) for one in f.ladders]
    return Section("ladder", "How few frames are enough", tuple(blocks))


def ladder_data(f: Findings) -> tuple[Data, ...]:
    """Every rung of every test set; no file where no ladder was run."""
    rows = [_row(one, rung) for one in f.ladders for rung in one.rungs]
    return (Data("ladder", _COLUMNS, tuple(rows)),) if rows else ()


def _row(one: Ladder, rung: Rung) -> tuple[object, ...]:
    d, target = rung.difference, one.target
    less = (None, None, None) if d is None else (d.value, d.low, d.high)
    score = (rung.score.value, rung.score.low, rung.score.high)
    return (target.task, target.set, rung.share, rung.frames, target.measure, *score, *less, len(rung.seeds))


def _table(one: Ladder) -> Table:
    rows: list[tuple[Entry | str, ...]] = []
    for rung in one.rungs:
        score = Entry(f"{rung.score.value:.3f}", (f"{rung.score.low:.3f} to {rung.score.high:.3f}",))
        rows.append((f"{percent(rung.share)} %", f"{rung.frames:,}", score, _less(rung), str(len(rung.seeds))))
    note = (
        f"{one.target.unit}, mean over seeds; below, the interval. Then the difference from the full pool, paired over "
        "seeds and frames. Faint: the interval contains zero, no difference shown."
    )
    return Table(f"{one.target.name}: the ladder", ("kept", "frames", "score", "less all", "seeds"), tuple(rows), note,
                 "ladder.csv")  # fmt: skip


def _less(rung: Rung) -> Entry | str:
    return "–" if rung.difference is None else difference_entry(rung.difference)  # noqa: RUF001
