"""What came out: a score for every selector, budget, split and draw, and the paired differences from random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from meddel_hf.downstream.resampled import Resampled, resampled_interval
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.tables import exactly
from meddel_hf.runtime.text_table import aligned

_MOST_ALIKE = 0.99  # splits that choose the very same frames would leave no interval

COLUMNS = exactly(
    arm=pa.string(),  # label of the selector with its options
    budget=pa.string(),  # as asked: "16" frames, or "10%" of the pool
    frames=pa.int64(),  # that were chosen and labelled
    pool=pa.int64(),  # that could be chosen in this split
    tested=pa.int64(),
    split=pa.int64(),
    seed=pa.int64(),  # of the selector
    score=pa.float64(),  # the measure on the tested frames, in [0, 1]
    chosen=pa.list_(pa.string()),  # ids of the frames that were labelled
)


@dataclass(frozen=True)
class Line:
    """One arm at one budget.

    frames:  that were labelled, the median over splits. mean: score, over splits.
    overlap: share of the chosen frames that two splits have in common, mean over pairs.
    versus_random: the paired difference and its corrected resampled interval; None of random itself.
    cautious: the same for splits that correlate by `overlap`, where that is more than the share tested. The first may
              be too narrow where the overlap is great, this one is too wide.
    """

    arm: str
    budget: str
    frames: int
    mean: float
    overlap: float
    versus_random: Resampled | None = None
    cautious: Resampled | None = None


@dataclass(frozen=True, eq=False)
class Outcomes:
    """table: as COLUMNS. random: label of the arm that the others are compared with. measure: of the scores."""

    table: pa.Table
    random: str
    measure: str

    @property
    def arms(self) -> list[str]:
        answer: list[str] = pc.unique(self.table["arm"]).to_pylist()
        return answer

    @property
    def budgets(self) -> list[str]:
        answer: list[str] = pc.unique(self.table["budget"]).to_pylist()
        return answer

    @property
    def splits(self) -> int:
        return len(pc.unique(self.table["split"]))

    def by_split(self, arm: str, budget: str) -> dict[int, float]:
        """split -> score, mean over its draws. Raises InvalidArgument where the arm was not run at that budget."""
        part = self._part(arm, budget)
        means = part.group_by("split").aggregate([("score", "mean")])
        return dict(zip(means["split"].to_pylist(), means["score_mean"].to_pylist(), strict=True))

    def overlap(self, arm: str, budget: str) -> float:
        """Share of the frames chosen in one split that are chosen in another one too, mean over pairs of splits."""
        part = self._part(arm, budget)
        seeds = part.group_by("split").aggregate([("seed", "min")])["seed_min"]  # of the draws of each split, one
        first = part.filter(pc.is_in(part["seed"], value_set=seeds.combine_chunks()))
        sets = [set(ids) for ids in first["chosen"].to_pylist()]
        pairs = list(combinations(sets, 2))
        return float(np.mean([2 * len(a & b) / (len(a) + len(b)) for a, b in pairs])) if pairs else 0.0

    def difference(self, arm: str, budget: str, *, level: float = 0.95, correlation: float | None = None) -> Resampled:
        """The arm minus random, paired by split, in [-1, 1]. correlation: of two splits; None: the share tested."""
        of_arm, of_random = self.by_split(arm, budget), self.by_split(self.random, budget)
        splits = sorted(of_arm.keys() & of_random.keys())
        correlation = self.tested_share(budget) if correlation is None else correlation
        found = resampled_interval([of_arm[split] - of_random[split] for split in splits], correlation, level=level)
        return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))

    def tested_share(self, budget: str) -> float:
        """Tested frames in those that are tested or could be chosen, mean over splits."""
        part = self._part(self.random, budget)
        tested = _numbers(part, "tested")
        return float(np.mean(tested / (tested + _numbers(part, "pool"))))

    def lines(self, *, level: float = 0.95) -> list[Line]:
        """Of every arm at every budget, in their order in the table. InvalidArgument for one split."""
        return [self._line(arm, budget, level) for arm in self.arms for budget in self.budgets]

    def _line(self, arm: str, budget: str, level: float) -> Line:
        mean = float(np.mean(list(self.by_split(arm, budget).values())))
        frames = int(np.median(_numbers(self._part(arm, budget), "frames")))
        overlap = self.overlap(arm, budget)
        if arm == self.random:
            return Line(arm, budget, frames, mean, overlap)
        alike = min(max(overlap, self.tested_share(budget)), _MOST_ALIKE)
        plain, cautious = (self.difference(arm, budget, level=level, correlation=r) for r in (None, alike))
        return Line(arm, budget, frames, mean, overlap, plain, cautious)

    def _part(self, arm: str, budget: str) -> pa.Table:
        part = self.table.filter(pc.and_(pc.equal(self.table["arm"], arm), pc.equal(self.table["budget"], budget)))
        if not len(part):
            raise InvalidArgument(f"{arm!r} has no score at {budget}: expected one of {', '.join(self.arms)}, at "
                                  f"{', '.join(self.budgets)}")  # fmt: skip
        return part


def markdown(outcomes: Outcomes, *, level: float = 0.95) -> str:
    """A row for each arm, a column for each budget: random's mean score, and each arm's difference from it with its
    interval in parentheses, all times 100; bold where the interval is clear of zero, with a dagger where the cautious
    one is too."""
    lines = {(line.arm, line.budget): line for line in outcomes.lines(level=level)}
    heads = [_head(lines[outcomes.random, budget]) for budget in outcomes.budgets]
    rows = [f"| {outcomes.measure} | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for arm in [outcomes.random, *(arm for arm in outcomes.arms if arm != outcomes.random)]:
        rows.append(f"| {arm} | " + " | ".join(_cell(lines[arm, budget]) for budget in outcomes.budgets) + " |")
    return "\n".join(rows)


def text(outcomes: Outcomes, *, level: float = 0.95) -> str:
    """The same as a terminal shows it, with a line that says what stands in it: an asterisk for bold."""
    lines = {(line.arm, line.budget): line for line in outcomes.lines(level=level)}
    arms = [outcomes.random, *(arm for arm in outcomes.arms if arm != outcomes.random)]
    rows = [["frames to label", *(_head(lines[outcomes.random, budget]) for budget in outcomes.budgets)]]
    for arm in arms:
        label = f"{arm}, score" if arm == outcomes.random else f"{arm}, difference"
        cells = (_cell(lines[arm, budget], clear="*") for budget in outcomes.budgets)
        rows.append([label, *cells])
    measure = outcomes.measure.replace("-", " ")
    said = f"{outcomes.random}: {measure} in per cent"
    if len(arms) > 1:
        said += (
            f"; the others: their difference from {outcomes.random} in percentage points, and its {level:.0%} interval "
            "(* clear of zero, † also where splits are taken to correlate by the frames that they choose alike)"
        )
    return f"{aligned(rows)}\n\n{said}."


def _head(line: Line) -> str:
    return f"{line.budget} ({line.frames:,})" if line.budget.endswith("%") else line.budget


def _cell(line: Line, clear: str = "") -> str:
    """clear: stands behind an interval that is clear of zero; none: that is bold, in Markdown."""
    d = line.versus_random
    if d is None:
        return f"{100 * line.mean:.1f}"
    value, low, high = (100 * number for number in (d.value, d.low, d.high))
    said = f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
    dagger = "†" if line.cautious is not None and line.cautious.shown else ""
    if not d.shown:
        return said
    return f"{said}{clear}{dagger}" if clear else f"**{said}**{dagger}"


def _numbers(table: pa.Table, column: str) -> NDArray[np.float64]:
    return np.asarray(table[column].to_numpy(), np.float64)
