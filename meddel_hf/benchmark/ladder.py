"""The ladder, read from finished cells: how a score grows with the frames, and how few of them are enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meddel_hf.benchmark.place import FULL, LADDER, UNTRAINED, percent
from meddel_hf.benchmark.results import Runs, Target
from meddel_hf.benchmark.rungs import rungs
from meddel_hf.downstream.intervals import Difference, Interval, compare, interval
from meddel_hf.downstream.scores import Scores
from meddel_hf.runtime.text_table import aligned
from meddel_hf.runtime.words import plural


@dataclass(frozen=True)
class Rung:
    """A share of the pool, in (0, 1], and its frames: those of the smallest cell.

    score: mean over `seeds`. below: the score less that of the full pool, over the seeds that both have; None of the
    full pool itself, and where no seed has both.
    """

    share: float
    frames: int
    score: Interval
    seeds: tuple[int, ...]
    difference: Difference | None

    @property
    def words(self) -> str:
        frames = plural(self.frames, "frame")
        return f"{frames} ({percent(self.share)} %)"

    @property
    def is_below(self) -> bool:
        """Shown to be below the full pool."""
        return self.difference is not None and self.difference.high < 0


@dataclass(frozen=True)
class Ladder:
    """One test set's ladder.

    rungs:     ascending, those that have scores; the full pool comes last. untrained: the score of no pre-training.
    gain:      of the full pool less no pre-training; None where no seed has both.
    missing:   in words, which cells are not finished, or diverged: they are in no mean.
    """

    target: Target
    rungs: tuple[Rung, ...]
    untrained: Interval | None
    gain: Difference | None
    missing: tuple[str, ...]

    @property
    def enough(self) -> Rung | None:
        """The smallest rung from which on none is shown to be below the full pool; None where that is the full pool."""
        answer = None
        for rung in reversed(self.rungs[:-1]):
            if rung.difference is None or rung.is_below:
                break
            answer = rung
        return answer

    @property
    def sentence(self) -> str:
        """How few frames are enough, for one who reads no statistics; without the ladder's name."""
        tail = f" ({'; '.join(self.missing)})" if self.missing else ""
        of_a_set = not (self.target.only or self.target.series)
        task = f"{self.target.task}, tested on {self.target.set}," if of_a_set else self.target.name
        if self.gain is None:
            return f"On {task} nothing can be said: the full pool and no pre-training have no seed in common{tail}."
        if not (self.gain.shown and self.gain.value > 0):
            return (
                f"On {task} all frames are not shown to be better than no pre-training ({_signed(self.gain)}): how few "
                f"are enough cannot be said{tail}."
            )
        enough = self.enough
        if enough is None or enough.difference is None:
            return f"On {task} no smaller number of frames is enough at this budget{self._nearest}{tail}."
        loss = max(-enough.difference.low, 0.0)
        smallest = ", fewer were not tried" if enough is self.rungs[0] else ""
        above = any(rung.difference and rung.difference.shown for rung in self.rungs if rung.share >= enough.share)
        from_there = "none is shown to be below all" if above else "no difference from all is shown"
        return (
            f"On {task.removesuffix(',')}, {enough.words} are enough at this budget: from there up {from_there} "
            f"(largest possible loss {loss:.3f}{smallest}){tail}."
        )

    @property
    def _nearest(self) -> str:
        compared = [rung for rung in self.rungs[:-1] if rung.difference is not None]
        if not compared or compared[-1].difference is None:
            return ""
        return f": {compared[-1].words} are below all by {_signed(compared[-1].difference)}"


def ladders(runs: Runs, *, draws: int = 2000, level: float = 0.95, seed: int = 0) -> list[Ladder]:
    """A ladder for every test set on which the full pool and some rung were scored; none where no ladder was run.

    A gate has one rung of its own, random at the smallest retention, and that alone is no ladder.
    """
    shares = sorted({cell.retention for cell in runs.cells if cell.arm == LADDER})
    made = [_ladder(runs, target, shares, draws, level, seed) for target in runs.targets] if len(shares) > 1 else []
    return [one for one in made if one is not None]


def _ladder(runs: Runs, target: Target, shares: list[float], draws: int, level: float, seed: int) -> Ladder | None:
    full, untrained = runs.of(target, FULL, 1.0), runs.of(target, UNTRAINED, 0.0)
    by_share = {share: scored for share in shares if (scored := runs.of(target, LADDER, share))}
    if not full or not by_share:
        return None

    def spread(scored: dict[int, Scores]) -> Interval:
        return interval([scored[one] for one in sorted(scored)], draws=draws, level=level, seed=seed)

    def difference(scored: dict[int, Scores], other: dict[int, Scores]) -> Difference | None:
        both = sorted(set(scored) & set(other))
        pair = [scored[one] for one in both], [other[one] for one in both]
        return compare(*pair, draws=draws, level=level, seed=seed) if both else None

    steps = [
        Rung(share, _frames(runs, LADDER, share), spread(scored), tuple(sorted(scored)), difference(scored, full))
        for share, scored in by_share.items()
    ]
    steps.append(Rung(1.0, _frames(runs, FULL, 1.0), spread(full), tuple(sorted(full)), None))
    missing = _missing(runs, {rung.share: rung.seeds for rung in steps})
    return Ladder(target, tuple(steps), spread(untrained) if untrained else None, difference(full, untrained), missing)


def _missing(runs: Runs, scored: Mapping[float, tuple[int, ...]]) -> tuple[str, ...]:
    """scored: share -> seeds. What is expected: every rung of the pool, with every seed of the runs."""
    frames = None if runs.pool is None else runs.pool.num_rows
    expected = sorted({*scored, *(rungs(frames) if frames is not None else ())})
    bad = {(one.place.percent, one.place.seed) for one in runs.diverged if one.place.arm in (FULL, LADDER)}
    words = []
    for share in expected:
        lacking = sorted(set(runs.seeds) - set(scored.get(share, ())))
        for how, those in (
            ("diverged", [seed for seed in lacking if (percent(share), seed) in bad]),
            ("is not finished", [seed for seed in lacking if (percent(share), seed) not in bad]),
        ):
            if those:
                words.append(f"{percent(share)} %, seed {', '.join(map(str, those))} {how}")
    return tuple(words)


def _frames(runs: Runs, arm: str, share: float) -> int:
    return min(cell.frames or 0 for cell in runs.cells if (cell.arm, cell.retention) == (arm, share))


def _signed(d: Difference) -> str:
    return f"{d.value:+.3f}, {d.low:+.3f} to {d.high:+.3f}"


def table(made: list[Ladder]) -> str:
    """As text: a line for each rung of each test set."""
    rows = [("task", "rung", "frames", "score", "", "less all", "")]
    for one in made:
        for rung in one.rungs:
            d = rung.difference
            rows.append(
                (
                    one.target.name, f"{percent(rung.share)} %", f"{rung.frames:,}", f"{rung.score.value:.4f}",
                    f"[{rung.score.low:.4f}, {rung.score.high:.4f}]",
                    *(("", "") if d is None else (f"{d.value:+.4f}", f"[{d.low:+.4f}, {d.high:+.4f}]")),
                )
            )  # fmt: skip
        if one.untrained is not None:
            none = one.untrained
            rows.append(
                (one.target.name, "none", "0", f"{none.value:.4f}", f"[{none.low:.4f}, {none.high:.4f}]", "", "")
            )
    return aligned(rows)
