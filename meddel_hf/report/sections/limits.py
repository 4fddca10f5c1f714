"""What NormDEL can and cannot tell, shown on the runs at hand: its range, its preference for less data, alpha."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from normdel import normdel

from meddel_hf.benchmark.place import DISTINCT, FULL, percent
from meddel_hf.benchmark.results import Target
from meddel_hf.report.document import Block, Data, Entry, Paragraph, Section, Table
from meddel_hf.report.findings import Findings, Level
from meddel_hf.runtime.words import plural

_RANGE = (
    "NormDEL = 1 / (1 + exp(-DEL)) with DEL = m · exp(-alpha · R): m is the downstream score, R the share of the pool "
    "that was kept (Eqs. 4 and 5 of arXiv:2401.17542). A score of 0 gives 0.5, and a perfect score from next to no "
    "data comes close to 0.7311; at R = 1 and alpha = 1 nothing exceeds 0.5910. The whole scale is 0.23 wide: a "
    "difference of 0.01 in NormDEL is a twentieth of it, not a hundredth. Without pre-training there is no R and no "
    "NormDEL."
)
_WHY = (
    "R enters by definition, not by measurement: exp(-alpha · R) falls from 1 towards exp(-alpha) as more of the pool "
    "is used, and alpha says how dear a unit of data is. No run can tell which alpha is right; the paper uses 1."
)
_ALWAYS = "Its order is that of retention, and says nothing about which selector chose well."
_MOSTLY = "It says more about retention than about which selector chose well."
_ROUNDING = 1e-9  # of a mean of scores
_OF_THE_PAPER = (0.05, 0.1, 0.2, 0.33, 0.5)


def crossing(less: tuple[float, float], more: tuple[float, float]) -> float:
    """The alpha above which NormDEL ranks the first of two runs higher.

    less, more: (score in (0, 1], retention) of each, the first with the smaller retention. From m·exp(-alpha·R) on
    both sides: alpha = ln(m2 / m1) / (R2 - R1). Below 0 where the first run already scores higher.
    """
    (m1, r1), (m2, r2) = less, more
    return math.log(m2 / m1) / (r2 - r1)


def break_even(retention: float) -> float:
    """Share of the full pool's score that a run at `retention` must keep for an equal NormDEL at alpha = 1."""
    return math.exp(retention - 1)


def prefers_less(levels: Sequence[Level]) -> tuple[int, int]:
    """Of pairs of different retention: in how many NormDEL (alpha 1) ranks the smaller higher; how many there are."""
    ordered = [sorted(pair, key=lambda v: v.retention) for pair in combinations(levels, 2)]
    pairs = [(a, b) for a, b in ordered if a.retention < b.retention]
    won = sum(index(a) > index(b) for a, b in pairs)
    return won, len(pairs)


def index(level: Level) -> float:
    return normdel(min(max(level.score.value, 0.0), 1.0), level.retention)


def ranked(f: Findings, target: Target) -> list[Level]:
    """Levels with a NormDEL on a target: every arm at every retention, and the full pool."""
    own = [v for v in f.levels if v.target == target and v.measure == target.measure and v.retention]
    own = [v for v in own if v.arm != DISTINCT]
    return sorted(own, key=lambda v: (-v.score.value, v.retention, v.arm))


def limits(f: Findings, pictures: Sequence[Block]) -> Section:
    blocks: list[Block] = [Paragraph(_RANGE), Paragraph(_WHY)]
    blocks.append(_break_even_table(f.runs.retentions or _OF_THE_PAPER))
    won, pairs = (sum(column) for column in zip(*(prefers_less(ranked(f, t)) for t in f.runs.targets), strict=True))
    if pairs:
        blocks.append(
            Paragraph(
                f"In these runs NormDEL at alpha = 1 ranks the run with less data higher in {won:,} of "
                f"{plural(pairs, 'pair')} of different retention. {_ALWAYS if won == pairs else _MOSTLY} "
                "Compare scores at the same retention.",
                "lead",
            )
        )
    blocks += pictures
    blocks += [table for target in f.runs.homes if f.passed(target) and (table := _ranking_table(f, target))]
    return Section("limits", "What NormDEL can and cannot tell", tuple(blocks))


def _break_even_table(retentions: Sequence[float]) -> Table:
    rows = []
    for r in retentions:
        if r < 1:
            share = break_even(r)
            rows.append((f"{percent(r)} %", f"{share:.3f}", f"{100 * (1 - share):.0f} %", f"{0.7 * share:.3f}"))
    return Table(
        "How far a score may fall and still win",
        ("kept", "of the full pool's score", "may fall by", "enough against 0.700"),
        tuple(rows),
        "At alpha = 1, a run that keeps this much of the pool ties with the full pool at this share of its score: "
        "exp(-(1 - R)). With anything above, NormDEL ranks it higher.",
        "",
    )


def _ranking_table(f: Findings, target: Target) -> Table | None:
    levels = ranked(f, target)
    full = f.level(target, FULL, 1.0)
    if len(levels) < 2:
        return None
    scores, indices = [v.score.value for v in levels], [index(v) for v in levels]
    rows: list[tuple[Entry | str, ...]] = []
    for level in levels:
        flips = "–"  # noqa: RUF001
        if full is not None and level.retention < 1 and level.score.value > 0 and full.score.value > 0:
            alpha = crossing((level.score.value, level.retention), (full.score.value, 1.0))
            flips = f"above {alpha:.3f}" if alpha > 0 else "always"
        rows.append(
            (
                f"{level.arm}, {percent(level.retention)} %",
                Entry(f"{level.score.value:.3f}", (f"rank {_rank(level.score.value, scores)}",)),
                Entry(f"{index(level):.3f}", (f"rank {_rank(index(level), indices)}",)),
                flips,
            )
        )
    return Table(
        f"{target.name}: ranks by score and by NormDEL",
        ("run", target.unit, "NormDEL", "beats the full pool at alpha"),
        tuple(rows),
        "",
        "alpha.csv",
    )


def _rank(value: float, values: Sequence[float]) -> int:
    """1 of the highest; values that differ by rounding alone share theirs."""
    return 1 + sum(other > value + _ROUNDING for other in values)


def flips(f: Findings) -> Data:
    """For every run and the full pool: the alpha above which NormDEL ranks the run higher."""
    rows = []
    for target in f.runs.targets:
        full = f.level(target, FULL, 1.0)
        for level in ranked(f, target):
            if full is None or level.retention >= 1 or min(level.score.value, full.score.value) <= 0:
                continue
            alpha = crossing((level.score.value, level.retention), (full.score.value, 1.0))
            rows.append(
                (target.task, target.set, level.arm, level.retention, level.score.value, full.score.value, alpha)
            )
    return Data("alpha", ("task", "set", "arm", "retention", "score", "full", "alpha_above_which_it_wins"), tuple(rows))
