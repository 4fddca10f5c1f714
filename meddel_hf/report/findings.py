"""What the runs show: the level of every arm, and its difference from its rivals, each with an interval.

Every comparison is paired: the same seeds, the same frames. `downstream/intervals.py` says how the intervals are drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

from normdel import normdel

from meddel_hf.benchmark.gate import headroom, verdict
from meddel_hf.benchmark.ladder import Ladder, ladders
from meddel_hf.benchmark.place import DISTINCT, FULL, LADDER, UNTRAINED
from meddel_hf.benchmark.plan import HEADROOM, LEARNING, Gate
from meddel_hf.benchmark.results import Runs, Target
from meddel_hf.benchmark.verdicts import Headroom, Verdict
from meddel_hf.downstream.intervals import Difference, Interval, compare, interval, simultaneous_level
from meddel_hf.downstream.scores import OF_MASKS, Measure, Scores
from meddel_hf.runtime.words import any_of, plural

CLASS_MEASURES: tuple[Measure, ...] = ("balanced-accuracy", "accuracy")


@dataclass(frozen=True)
class Draws:
    """How intervals are drawn: how often, what share of the draws they hold, and from which seed."""

    draws: int = 2000
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Level:
    """A score: mean over the seeds, with its interval. `by_seed`: seed -> the score of that run, a fraction."""

    target: Target
    arm: str
    retention: float
    measure: Measure
    score: Interval
    by_seed: Mapping[int, float]
    frames: int

    @property
    def normdel(self) -> Interval | None:
        """NormDEL at alpha 1; it grows with the score, so the interval's ends are carried over. None at retention 0."""
        if not self.retention:
            return None
        s = self.score
        value, low, high = (normdel(m, self.retention) for m in (s.value, s.low, s.high))
        return replace(s, value=value, low=low, high=high)


@dataclass(frozen=True)
class Contrast:
    """How far an arm's score lies above (below: negative) that of a rival, over the seeds that both have.

    holds_with_all: the interval is still clear of zero at the level at which all against that rival hold at once.
    """

    target: Target
    arm: str
    retention: float
    against: str
    difference: Difference
    seeds: tuple[int, ...]
    holds_with_all: bool = False

    @property
    def verdict(self) -> Literal["higher", "lower", "no difference shown"]:
        if not self.difference.shown:
            return "no difference shown"
        return "higher" if self.difference.value > 0 else "lower"


@dataclass(frozen=True)
class CurvePoint:
    """The score of an encoder that was exported on the way, after `samples` views, that is `epochs` of its frames."""

    target: Target
    arm: str
    retention: float
    samples: int
    epochs: float | None
    score: Interval
    seeds: int


@dataclass(frozen=True, eq=False)
class Findings:
    """Every level and contrast of a folder of runs; verdicts: of the gates, by what they judge (`Target.judged`), also
    where no gate was run.

    ladders: of every test set, where a ladder was run; its cells are in nothing else.
    """

    runs: Runs
    draws: Draws
    levels: tuple[Level, ...]
    contrasts: tuple[Contrast, ...]
    curves: tuple[CurvePoint, ...]
    verdicts: Mapping[str, Verdict]
    ladders: tuple[Ladder, ...] = ()

    def passed(self, target: Target) -> bool:
        """Whether arms can be compared on this target: its task, or series, passed every gate that was asked."""
        verdict = self.verdicts.get(target.judged)
        return verdict is not None and verdict.can_rank

    @property
    def stopped(self) -> bool:
        """Whether all that is missing was left out by the gates, which no task passed."""
        gate, missing = self.runs.gate, self.runs.missing
        if gate is None or any(verdict.can_rank for verdict in gate.by_task.values()):
            return False
        return bool(missing) and not {place.arm for place in missing} & {FULL, UNTRAINED}

    @property
    def comparable(self) -> list[Target]:
        return [target for target in self.runs.targets if self.passed(target)]

    def level(self, target: Target, arm: str, retention: float) -> Level | None:
        """In the measure that the task was made for."""
        return self._levels.get((target, arm, retention))

    def against(self, rival: str, target: Target | None = None) -> list[Contrast]:
        """Contrasts with a rival, on one target or on all that passed the gate."""
        return [
            contrast
            for contrast in self.contrasts
            if contrast.against == rival and (contrast.target == target if target else self.passed(contrast.target))
        ]

    def contrast(self, target: Target, arm: str, retention: float, against: str) -> Contrast | None:
        return self._contrasts.get((target, arm, retention, against))

    @cached_property
    def _levels(self) -> dict[tuple[Target, str, float], Level]:
        own = (level for level in self.levels if level.measure == level.target.measure)
        return {(level.target, level.arm, level.retention): level for level in own}

    @cached_property
    def _contrasts(self) -> dict[tuple[Target, str, float, str], Contrast]:
        return {(c.target, c.arm, c.retention, c.against): c for c in self.contrasts}


def findings(runs: Runs, draws: Draws | None = None) -> Findings:
    """Draw every interval of the report; some milliseconds each."""
    draws = draws or Draws()
    levels, pairs = [], []
    for target in runs.targets:
        for arm, retention in [*columns(runs), *distinct(runs)]:
            scored = runs.of(target, arm, retention)
            if scored:
                levels += [_level(target, arm, retention, measure, scored, draws) for measure in measures(target)]
                pairs += _pairs(runs, target, arm, retention, scored)
    verdicts = _verdicts(runs, draws)
    counts = Counter(p.against for p in pairs if p.target.judged in verdicts and verdicts[p.target.judged].can_rank)
    contrasts = tuple(pair.contrast(draws, max(counts[pair.against], 1)) for pair in pairs)
    climbed = tuple(ladders(runs, draws=draws.draws, level=draws.level, seed=draws.seed))
    return Findings(runs, draws, tuple(levels), contrasts, _curves(runs, draws), verdicts, climbed)


def counted(targets: Sequence[Target]) -> str:
    """How many there are: "3 test sets", or "3 measures" where some are series of the same frames."""
    return plural(len(targets), _noun(targets))


def any_counted(targets: Sequence[Target]) -> str:
    """The same in a sentence that denies, see `any_of`."""
    return any_of(len(targets), _noun(targets))


def _noun(targets: Sequence[Target]) -> str:
    return "measure" if any(target.series for target in targets) else "test set"


def in_full(rival: str) -> str:
    """What arms are compared with."""
    return "the full pool" if rival == FULL else f"{rival} at the same retention"


def columns(runs: Runs) -> list[tuple[str, float]]:
    """Every arm at every retention, ascending; then the full pool, then no pre-training."""
    return [(arm, retention) for arm in runs.arms for retention in runs.retentions] + [(FULL, 1.0), (UNTRAINED, 0.0)]


def distinct(runs: Runs) -> list[tuple[str, float]]:
    """The pool without its near-duplicates, where a gate asked for it: a level beside the others, and no arm."""
    return [(DISTINCT, share) for share in sorted({cell.retention for cell in runs.cells if cell.arm == DISTINCT})]


def measures(target: Target) -> list[Measure]:
    """Every measure that the target's scores allow, its own first."""
    kin = OF_MASKS if target.measure in OF_MASKS else CLASS_MEASURES
    return [target.measure, *(measure for measure in kin if measure != target.measure)]


def _rivals(runs: Runs, target: Target, arm: str, retention: float) -> list[tuple[str, dict[int, Scores]]]:
    """Random at the same retention, and the full pool; the full pool's own rival is no pre-training."""
    if arm in (UNTRAINED, DISTINCT):
        return []
    if arm == FULL:
        return [(UNTRAINED, runs.of(target, UNTRAINED, 0.0))]
    rivals = [(FULL, runs.of(target, FULL, 1.0))]
    if runs.rival is not None and arm != runs.rival:
        rivals.insert(0, (runs.rival, runs.of(target, runs.rival, retention)))
    return rivals


def _level(
    target: Target, arm: str, retention: float, measure: Measure, scored: dict[int, Scores], draws: Draws
) -> Level:
    ordered = [scored[seed] for seed in sorted(scored)]
    estimate = interval(ordered, measure=measure, draws=draws.draws, level=draws.level, seed=draws.seed)
    by_seed = {seed: scored[seed].value(measure) for seed in sorted(scored)}
    return Level(target, arm, retention, measure, estimate, by_seed, len(ordered[0]))


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two arms that are to be compared on a target, with the runs of the seeds that both have, in the same order."""

    target: Target
    arm: str
    retention: float
    against: str
    seeds: tuple[int, ...]
    runs: tuple[list[Scores], list[Scores]]

    def contrast(self, draws: Draws, comparisons: int) -> Contrast:
        """comparisons: how many there are with the same rival."""
        difference, holds = self.difference(draws, draws.level), False
        if difference.shown:
            holds = self.difference(draws, simultaneous_level(comparisons, draws.level)).shown
        return Contrast(self.target, self.arm, self.retention, self.against, difference, self.seeds, holds)

    def difference(self, draws: Draws, level: float) -> Difference:
        return compare(*self.runs, draws=draws.draws, level=level, seed=draws.seed)


def _pairs(runs: Runs, target: Target, arm: str, retention: float, scored: dict[int, Scores]) -> list[_Pair]:
    rows = []
    for against, other in _rivals(runs, target, arm, retention):
        if seeds := tuple(sorted(set(scored) & set(other))):
            both = [scored[seed] for seed in seeds], [other[seed] for seed in seeds]
            rows.append(_Pair(target, arm, retention, against, seeds, both))
    return rows


def _verdicts(runs: Runs, draws: Draws) -> dict[str, Verdict]:
    """gate.json's; of what it does not name, what the gates' cells say.

    A gate.json of before series were judged by themselves pooled them: what it says of those is not taken.
    """
    pooled = {target.task for target in runs.targets if target.judged != target.task}
    verdicts = {name: one for name, one in (runs.verdicts or {}).items() if name not in pooled}
    gates = _asked(runs)
    for home in runs.homes:
        scored = partial(_scored, runs, home)
        full, untrained = scored(FULL), scored(UNTRAINED)
        seeds = tuple(sorted(set(full) & set(untrained)))
        if home.judged in verdicts or not seeds:
            continue
        both = [full[seed] for seed in seeds], [untrained[seed] for seed in seeds]
        learned = verdict(*both, draws=draws.draws, level=draws.level, seed=draws.seed)
        room = _headroom(runs, home, draws) if HEADROOM in gates else None
        verdicts[home.judged] = replace(learned, recorded=False, gates=gates, headroom=room)
    return verdicts


def _scored(runs: Runs, home: Target, arm: str | None, at: float | None = None) -> dict[int, Scores]:
    """Seed -> scores of what is judged together with a target: all sets of its task, or the series alone."""
    cells = [cell for cell in runs.cells if cell.arm == arm and home.task in cell.scores]
    scores = {cell.seed: cell.scores[home.task] for cell in cells if at is None or cell.retention == at}
    return scores if home.judged == home.task else {seed: one.of(home.set) for seed, one in scores.items()}


def _asked(runs: Runs) -> tuple[Gate, ...]:
    """The gates that the plan asks, where they matter; a plan of before there was a second one asks the first."""
    plan = (runs.manifest.details.get("plan") if runs.manifest else None) or {}
    gates: list[Gate] = [LEARNING, HEADROOM]
    named = [gate for gate in gates if gate in plan.get("gates", (LEARNING,))]
    return tuple(gate for gate in named if gate == LEARNING or runs.retentions)


def _headroom(runs: Runs, home: Target, draws: Draws) -> Headroom | None:
    """Of what is judged together with a target, from the cells: random is the plan's own arm, else the ladder's."""
    smallest = min(runs.retentions)
    return headroom(
        _scored(runs, home, runs.rival or LADDER, smallest), _scored(runs, home, FULL), _scored(runs, home, DISTINCT),
        smallest, draws=draws.draws, level=draws.level, seed=draws.seed,
    )  # fmt: skip


def _curves(runs: Runs, draws: Draws) -> tuple[CurvePoint, ...]:
    points = []
    for target in runs.targets:
        for arm, retention in columns(runs):
            cells = [cell for cell in runs.cells if cell.arm == arm and cell.retention == retention]
            for samples in sorted({seen for cell in cells for task, seen in cell.snapshots if task == target.task}):
                scored = [cell.snapshots.get((target.task, samples)) for cell in cells]
                runs_here = [scores.of(target.set) for scores in scored if scores and target.set in scores.sets]
                if runs_here:
                    frames = cells[0].frames
                    score = interval(runs_here, draws=draws.draws, level=draws.level, seed=draws.seed)
                    epochs = samples / frames if frames else None
                    points.append(CurvePoint(target, arm, retention, samples, epochs, score, len(runs_here)))
    return tuple(points)
