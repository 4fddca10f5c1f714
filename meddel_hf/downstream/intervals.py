"""Intervals of a measure, and of the difference of two arms, over seeds and groups of frames.

Two things were left to chance: which seeds were run, and which frames were tested. Frames are drawn anew, whole groups
with replacement, the same draw for all runs: that tells how far the measure of each run moves with the frames, and how
far the runs move together. What moves with the seed is read from the spread of the runs themselves, because drawing
three seeds anew knows only three values: such an interval holds the truth 73 % of the time where it says 95 %. Both
parts add up to a t interval, as in studies of several readers who read the same cases. What it covers, measured:
docs/explanation/statistics.md.

Sources: Hillis, Berbaum and Metz, Academic Radiology 15 (2008) 647-661 (readers and cases; seeds are our readers);
Rao and Wu, J. Am. Stat. Assoc. 83 (1988) 231-241 (groups drawn less one); Satterthwaite 1946 (degrees of freedom).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.downstream.scores import Measure, Ratios, Scores
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.runtime import checks

_BLOCK = 2**20  # numbers in a block of draws
_RARE = 10  # groups of a class below which intervals were seen to fail (docs/explanation/statistics.md)
_SAME = (schema.GROUP, schema.LABEL)  # what runs must agree on, frame by frame


@dataclass(frozen=True)
class Interval:
    """A measure, mean over seeds, and where it lies with that level of confidence: all fractions in [0, 1].

    level: such as 0.95. seeds, groups, frames: how many runs, groups of frames and frames it rests on. rarest: how many
    groups the class has that has fewest, where the measure is a mean over classes, else `groups`.
    """

    value: float
    low: float
    high: float
    level: float
    seeds: int
    groups: int
    frames: int
    rarest: int

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the reader of the interval should see."""
        parts = []
        if self.seeds == 1:
            parts.append("one seed: the interval covers other frames, not other seeds")
        if self.rarest < min(_RARE, self.groups):
            parts.append(f"a class has {self.rarest} groups of frames only: the interval may be too narrow")
        if self.says_nothing:
            parts.append("too few seeds, or too few groups of frames, to say where the value lies")
        return tuple(parts)

    @property
    def says_nothing(self) -> bool:
        """Whether it holds everything that is possible: of one group of frames, or of few seeds that lie far apart."""
        return self.low <= self._range[0] and self.high >= self._range[1]

    @property
    def _range(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Difference(Interval):
    """The first arm minus the second, mean over seeds, and its interval: all in [-1, 1]."""

    @property
    def shown(self) -> bool:
        """Whether the interval is clear of zero; where it is not, no difference is shown."""
        return self.low > 0 or self.high < 0

    @property
    def _range(self) -> tuple[float, float]:
        return -1.0, 1.0

    def __str__(self) -> str:
        numbers = f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"
        return numbers if self.shown else f"{numbers}, no difference shown"


def interval(
    runs: Sequence[Scores], *, measure: Measure | None = None, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The interval of one arm: runs that differ in their seed only, tested on the same frames.

    measure: that of the runs unless said otherwise. draws: of groups of frames. level: in (0, 1). seed: of the draws.
    Raises InvalidArgument without runs, Mismatch where they were tested on other frames, groups or labels.
    """
    _check(draws, level, seed)
    return Interval(**_spread(_Tested.of(runs, measure), None, (0.0, 1.0), draws, level, seed))


def compare(
    a: Sequence[Scores],
    b: Sequence[Scores],
    *,
    measure: Measure | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Arm a minus arm b, paired: the i-th runs share their seed, and all runs their frames, in any order.

    Arguments and errors as in `interval`; InvalidArgument too where the arms have different numbers of runs.
    """
    _check(draws, level, seed)
    if len(a) != len(b):
        raise InvalidArgument(f"the arms have {len(a)} and {len(b)} runs: give one of each for every seed")
    both = _Tested.of([*a, *b], measure)
    sign = np.repeat([1.0, -1.0], len(a))
    return Difference(**_spread(both, sign, (-1.0, 1.0), draws, level, seed))


def expected_by_chance(comparisons: int, level: float = 0.95) -> float:
    """How many of so many intervals would be clear of zero, on average, if there were no difference anywhere."""
    if comparisons < 0:
        raise InvalidArgument(f"comparisons must be 0 or more, got {comparisons}")
    _check(2, level)
    return comparisons * (1 - level)


def simultaneous_level(comparisons: int, level: float = 0.95) -> float:
    """The level of each interval at which all of so many hold at once with the given level (Bonferroni).

    Bonferroni, not Holm: it holds however the comparisons depend on each other, as those against one random arm do, and
    each interval stays one that can be drawn.
    """
    if comparisons < 1:
        raise InvalidArgument(f"comparisons must be at least 1, got {comparisons}")
    _check(2, level)
    return 1 - (1 - level) / comparisons


@dataclass(frozen=True, eq=False)
class _Tested:
    """Runs on the same frames, aligned: `runs` with a row for each group, `sets` (groups,) the test set of each."""

    runs: list[Ratios]
    sets: NDArray[np.int64]
    frames: int

    @classmethod
    def of(cls, runs: Sequence[Scores], measure: Measure | None) -> _Tested:
        if not len(runs):
            raise InvalidArgument("an interval needs at least one run, got none")
        measures = sorted({run.measure for run in runs})
        if measure is None and len(measures) > 1:
            raise Mismatch(f"the runs were made for different measures ({', '.join(measures)}): say which one to take")
        first = runs[0]
        orders = [_order(first.table, run.table) for run in runs]
        of_set = first.table[schema.SET].combine_chunks().dictionary_encode().indices.to_numpy()
        names = first.table[schema.GROUP].combine_chunks().dictionary_encode().indices.to_numpy()
        # A video that stands in two test sets is a group of each: groups are drawn within a set.
        keys, groups = np.unique(of_set.astype(np.int64) * (names.max() + 1) + names, return_inverse=True)
        ratios = [run.ratios(measure or first.measure) for run in runs]
        aligned = [Ratios(each.above[order], each.below[order]) for each, order in zip(ratios, orders, strict=True)]
        return cls([each.summed(groups, len(keys)) for each in aligned], keys // (names.max() + 1), len(first))

    def effective_groups(self) -> float:
        """Number of groups of equal weight that would be worth as much (Kish): 1 / sum of squared shares."""
        share = np.zeros(len(self.sets))
        for run in self.runs:
            total = run.below.sum(axis=0)
            share += (run.below[:, total > 0] / total[total > 0]).sum(axis=1)
        return share.sum() ** 2 / (share**2).sum() if share.any() else 1.0

    def rarest(self) -> int:
        """Groups of the class that has fewest, of those that occur."""
        counts = [np.count_nonzero(run.below, axis=0) for run in self.runs]
        return min((int(count[count > 0].min()) for count in counts if count.any()), default=len(self.sets))

    def drawn(self, draws: int, seed: int) -> NDArray[np.float64]:
        """(draws, runs): the measure of every run under the same draws of groups, in blocks of bounded size."""
        rng = np.random.default_rng(seed)
        block = max(1, _BLOCK // len(self.sets))
        parts = [self._block(min(block, draws - start), rng) for start in range(0, draws, block)]
        return np.concatenate(parts)

    def _block(self, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
        weights = np.empty((draws, len(self.sets)))
        for each in np.unique(self.sets):
            members = np.flatnonzero(self.sets == each)
            m = len(members)
            # Of m groups m - 1 are drawn: with m, the spread would come out too small by (m - 1) / m.
            at = rng.integers(m, size=(draws, m - 1)) + m * np.arange(draws)[:, None]
            weights[:, members] = np.bincount(at.ravel(), minlength=draws * m).reshape(draws, m) * (m / max(m - 1, 1))
        return np.stack([run.values(weights) for run in self.runs], axis=1)


def _spread(
    tested: _Tested, sign: NDArray[np.float64] | None, bounds: tuple[float, float], draws: int, level: float, seed: int
) -> dict[str, Any]:
    """Fields of an Interval; sign: (runs,) 1 for the first arm and -1 for the second, or None for one arm."""
    n_groups, n_sets = len(tested.sets), len(np.unique(tested.sets))
    each = np.concatenate([run.values(np.ones((1, n_groups))) for run in tested.runs])  # (runs,)
    arms = 1 if sign is None else 2
    seeds = len(each) // arms
    of_seed = each if sign is None else (sign * each).reshape(arms, seeds).sum(axis=0)  # (seeds,)
    facts = {
        "value": float(of_seed.mean()),
        "level": level,
        "seeds": seeds,
        "groups": n_groups,
        "frames": tested.frames,
        "rarest": tested.rarest(),
    }
    if np.bincount(tested.sets).min() < 2:
        return {**facts, "low": bounds[0], "high": bounds[1]}
    drawn = tested.drawn(draws, seed)  # (draws, runs)
    if sign is not None:
        drawn = (sign * drawn).reshape(draws, arms, seeds).sum(axis=1)
    half = _half_width(of_seed, drawn, max(tested.effective_groups() - n_sets, 1.0), level)
    low, high = max(facts["value"] - half, bounds[0]), min(facts["value"] + half, bounds[1])
    return {**facts, "low": low, "high": high}


def _half_width(of_seed: NDArray[np.float64], drawn: NDArray[np.float64], freedom: float, level: float) -> float:
    """Half of the t interval of the mean over seeds.

    of_seed: (S,) value of each seed on all frames. drawn: (B, S) the same under each draw of frames. freedom: degrees
    of freedom of the frames' part. The variance is that of S seeds, whose spread holds what each run's frames add on
    their own, plus what all runs have in common under a draw of frames: their covariance.
    """
    from scipy.special import stdtrit

    seeds = len(of_seed)
    moved = np.cov(drawn, rowvar=False).reshape(seeds, seeds)
    if seeds == 1:
        frames, by_seed = moved[0, 0], 0.0
    else:
        frames = max((moved.sum() - np.trace(moved)) / (seeds * (seeds - 1)), 0.0)
        by_seed = of_seed.var(ddof=1) / seeds
    variance = frames + by_seed
    if variance == 0:
        return 0.0
    # Shares, not variances: squares of the smallest variances would vanish.
    spread = (frames / variance) ** 2 / freedom + (by_seed / variance) ** 2 / max(seeds - 1, 1)
    return float(stdtrit(1 / spread, (1 + level) / 2) * np.sqrt(variance))


def _order(first: pa.Table, other: pa.Table) -> NDArray[np.int64]:
    """Row numbers of `other` in the order of `first`. Raises Mismatch where frames, groups or labels differ."""
    keys, others = (list(zip(t[schema.SET].to_pylist(), t[schema.ID].to_pylist(), strict=True)) for t in (first, other))
    if keys == others:
        order = np.arange(len(keys))
    else:
        row = {key: at for at, key in enumerate(others)}
        missing = [key for key in keys if key not in row]
        if missing or len(keys) != len(others):
            example = missing[0] if missing else next(key for key in others if key not in set(keys))
            raise Mismatch(
                f"the runs were tested on different frames ({len(keys):,} and {len(others):,}): one of them lacks "
                f"{example[1]!r} of {example[0]}; compare runs of one test split"
            )
        order = np.array([row[key] for key in keys])
    for column in _SAME:
        there = other[column].take(pa.array(order)) if keys != others else other[column]
        if not first[column].equals(there):
            raise Mismatch(f"the runs disagree on the {column} of their frames: compare runs of one test split")
    return order


def _check(draws: int, level: float, seed: int = 0) -> None:
    checks.count("draws", draws, 2, checks.MOST_DRAWS)
    checks.seed(seed)
    if not (checks.is_number(level) and 0 < level < 1):
        raise InvalidArgument(f"level must be a fraction between 0 and 1, such as 0.95, got {level}")
