"""The answer in plain sentences: what differs from random and from the full pool, what does not, what the gate said."""

from __future__ import annotations

from collections.abc import Sequence

from meddel_hf.benchmark.gate_text import nothing_to_choose, of_pool
from meddel_hf.benchmark.place import FULL, UNTRAINED, percent
from meddel_hf.benchmark.results import Target
from meddel_hf.benchmark.verdicts import Headroom
from meddel_hf.downstream.intervals import expected_by_chance
from meddel_hf.report.document import Block, Paragraph, Point, Points, Section, Tone, listed, signed
from meddel_hf.report.findings import Contrast, Findings, any_counted, in_full
from meddel_hf.report.sections.tables import overview_table
from meddel_hf.runtime.words import any_of, is_or_are, plural, verb

CANNOT_RANK = "pre-training itself is not shown to help here, so selectors cannot be compared"
_NO_ROOM = "all frames are not shown to do better than a few random ones, so there is nothing to choose"
_UNDECIDED = "whether there is anything to choose could not be decided, since cells of the gate are missing"


def answer(f: Findings) -> Section:
    blocks: list[Block] = [Paragraph(headline(f), "lead"), *_cautions(f)]
    blocks += [table for rival in (f.runs.rival, FULL) if rival and (table := overview_table(f, rival))]
    for judged in dict.fromkeys(target.judged for target in f.comparable):
        home, *others = [target for target in f.comparable if target.judged == judged]
        points = [_gate(f, judged), *_points(f, home), *([_elsewhere(f, others)] if others and f.runs.arms else [])]
        blocks.append(Points(tuple(points), home.name, _place(f, home)))
    blocks += _not_ranked(f)
    if f.runs.gate is not None and f.runs.gate.redundancy is not None:
        blocks.append(Paragraph(of_pool(f.runs.gate.redundancy)))
    blocks += [Paragraph(text, "note") for text in multiplicity(f)]
    return Section("answer", "The answer", tuple(blocks))


def multiplicity(f: Findings) -> list[str]:
    """How many intervals would exclude zero though nothing differed, and how many withstand that they are many."""
    sentences = []
    for rival in filter(None, (f.runs.rival, FULL)):
        contrasts = f.against(rival)
        if not contrasts:
            continue
        m, shown = len(contrasts), sum(c.difference.shown for c in contrasts)
        chance, holding = expected_by_chance(m, f.draws.level), sum(c.holds_with_all for c in contrasts)
        said = (
            f"Against {_named(rival)}, {shown} of {plural(m, 'interval')} {verb(shown, 'excludes', 'exclude')} zero; "
            f"if nothing differed at all, about {chance:.1f} would by chance."
        )
        if m > 1:
            still = verb(holding, "does", "do")
            said += f" Widened until all {m} hold at once (Bonferroni), {holding} still {still}."
        sentences.append(said)
    return sentences


def headline(f: Findings) -> str:
    """One sentence over all targets that passed."""
    if not f.comparable:
        if not f.verdicts:
            return (
                "No selector can be ranked: no gate was decided, since of no seed were the full pool and no "
                "pre-training both scored, so nobody knows whether pre-training helps here."
            )
        learned = any(verdict.learns for verdict in f.verdicts.values())
        why = nothing_to_choose(f.verdicts) or (_UNDECIDED if learned else CANNOT_RANK)
        return f"No selector can be ranked on {any_counted(f.runs.targets)}: {why}."
    rival = f.runs.rival
    if not f.runs.arms:
        names = listed(list(dict.fromkeys(target.judged for target in f.comparable)))
        return (
            f"No selector was run yet. Pre-training itself has an effect on {names}: selectors can be compared there."
        )
    if rival is None:
        return (
            "No arm chooses at random, so nothing here says whether a selector is worth its effort; "
            "arms are compared with the full pool only. " + _tally(f, FULL)
        )
    return _tally(f, rival) + " " + _tally(f, FULL)


def _tally(f: Findings, rival: str) -> str:
    """In how many comparisons arms score higher or lower than a rival, and where none was shown."""
    contrasts = f.against(rival)
    if not contrasts:
        return f"Nothing was compared with {_named(rival)} yet."
    counts = {word: sum(c.verdict == word for c in contrasts) for word in ("higher", "lower", "no difference shown")}
    if counts["higher"] + counts["lower"] == 0:
        return f"Against {in_full(rival)}: no difference shown in {any_of(len(contrasts), 'comparison')}."
    return (
        f"Against {in_full(rival)}, {plural(len(contrasts), 'comparison')}: a higher score in {counts['higher']}, "
        f"a lower one in {counts['lower']}, no difference shown in {counts['no difference shown']}."
    )


def _cautions(f: Findings) -> list[Paragraph]:
    """What a reader must know before believing the rest."""
    runs, lines = f.runs, []
    if f.stopped:
        left_out = plural(len(runs.missing), "planned cell was", "planned cells were")
        lines.append(
            f"No task passed the gates, so that no selector was run: {left_out} left out (listed under What was run)."
        )
    elif missing := runs.missing:
        lines.append(
            f"The matrix is not finished: {len(missing)} of {plural(len(runs.planned), 'cell')} "
            f"{is_or_are(len(missing))} missing (listed under What was run). What follows may change."
        )
    if runs.arms and not runs.rival:
        lines.append(
            "No arm's selector is random: without one, a score that equals the full pool's may only mean that less "
            "data, however chosen, is enough."
        )
    alone = sum(len(c.seeds) == 1 for c in f.contrasts if f.passed(c.target))
    if len(runs.seeds) == 1 or alone:
        rest = plural(alone, "comparison rests", "comparisons rest")
        which = "One seed only: the" if len(runs.seeds) == 1 else f"{rest} on one seed so far: their"
        lines.append(
            f"{which} intervals cover which frames were tested, not the luck of training. "
            "Differences of this size may be another seed's opposite."
        )
    if any(level.score.says_nothing for level in f.levels):
        lines.append(
            "Some intervals hold everything that is possible: there are too few seeds, or too few groups of tested "
            "frames (videos, patients), for them to say anything."
        )
    if n := len(runs.diverged):
        lines.append(
            f"{plural(n, 'cell')} diverged (listed under What was run) and {is_or_are(n)} in no mean: what stands "
            f"beside {verb(n, 'it', 'them')} rests on fewer seeds."
        )
    if runs.gate is not None and runs.gate.diverged:
        lines.append(
            f"Of the gates' cells, {listed(list(runs.gate.diverged))} diverged: the gates were decided by the seeds "
            "that are left."
        )
    if runs.gate is not None and runs.gate.level not in (None, f.draws.level):
        lines.append(
            f"The gates were decided by {percent(runs.gate.level or 0)} % intervals; all others here are of "
            f"{percent(f.draws.level)} %."
        )
    if runs.verdicts is None and f.verdicts:
        lines.append(
            "No gate.json: whether pre-training has an effect was judged here, from the cells of the full pool and of "
            "no pre-training."
        )
    return [Paragraph(text, "warning") for text in lines]


def _gate(f: Findings, judged: str) -> Point:
    v = f.verdicts[judged]
    text = f"the full pool lies {_difference(v.difference, v.low, v.high)} above no pre-training"
    if v.headroom is None:
        return Point("The gate is passed:" if v.passed else "No gate was asked that it failed:", f"{text}.")
    h = v.headroom
    room = f"{h.of_best} lies {_difference(h.difference, h.low, h.high)} above random at {percent(h.retention)} %"
    lead = "Both gates are passed:" if v.passed else "The gate that was asked is passed:"
    return Point(lead, f"{text}; {room}.")


def _difference(value: float, low: float, high: float) -> str:
    return f"{signed(value)} ({signed(low)} to {signed(high)})"


def _place(f: Findings, target: Target) -> str:
    """Where the target stands: levels with all of the pool and with none."""
    levels = [f.level(target, FULL, 1.0), f.level(target, UNTRAINED, 0.0)]
    words = [f"{level.score.value:.3f} {name}" for level, name in zip(levels, _ENDS, strict=True) if level]
    frames = plural(next(lv.frames for lv in f.levels if lv.target == target), "frame")
    return f"{target.unit}, {frames}" + (f": {listed(words)}" if words else "")


_ENDS = ("with the full pool", "without pre-training")


def _points(f: Findings, target: Target) -> list[Point]:
    points = []
    for rival in filter(None, (f.runs.rival, FULL)):
        contrasts = f.against(rival, target)
        against = in_full(rival)
        for verdict, lead, tone in _VERDICTS:
            those = [c for c in contrasts if c.verdict == verdict]
            if those:
                points.append(Point(f"{lead} {against}:", _arms(those) + ".", tone))
        same = [c for c in contrasts if not c.difference.shown]
        if same:
            widest = max(max(abs(c.difference.low), abs(c.difference.high)) for c in same)
            points.append(
                Point(
                    "No difference shown" + f" from {against}:",
                    f"{_bare(same)}. That is not equality: differences of up to {widest:.3f} are not excluded.",
                )
            )
    return points


_VERDICTS: tuple[tuple[str, str, Tone], ...] = (("higher", "Higher than", "more"), ("lower", "Lower than", "less"))


def _elsewhere(f: Findings, targets: Sequence[Target]) -> Point:
    """The same task on its other test sets, counted: their figures stand in the tables."""
    rival = f.runs.rival or FULL
    words = []
    for target in targets:
        contrasts = f.against(rival, target)
        counts = [f"{sum(c.verdict == word for c in contrasts)} {word}" for word in ("higher", "lower")]
        words.append(f"{target.set} ({', '.join(counts)}, of {len(contrasts)})")
    return Point("On other test sets,", f"against {_named(rival)}: {'; '.join(words)}.")


def _arms(contrasts: Sequence[Contrast]) -> str:
    """Such as "MedDEL at 5 % +0.031 (+0.012 to +0.049), 20 % ...; SemDeDup ...", without a full stop."""
    said: dict[str, list[str]] = {}
    for c in contrasts:
        interval = f"({signed(c.difference.low)} to {signed(c.difference.high)})"
        said.setdefault(c.arm, []).append(f"{percent(c.retention)} % {signed(c.difference.value)} {interval}")
    return "; ".join(f"{arm} at {', '.join(parts)}" for arm, parts in said.items())


def _bare(contrasts: Sequence[Contrast]) -> str:
    """Such as "MedDEL at 20 and 50 %; SemDeDup at 5 %"."""
    arms = dict.fromkeys(c.arm for c in contrasts)
    at = {arm: [percent(c.retention) for c in contrasts if c.arm == arm] for arm in arms}
    return "; ".join(f"{arm} at {listed(at[arm])} %" for arm in arms)


def _not_ranked(f: Findings) -> list[Block]:
    points = []
    for task in dict.fromkeys(target.judged for target in f.runs.targets):
        verdict = f.verdicts.get(task)
        if verdict is None:
            points.append(Point(task, "no gate was run for it, and its cells do not allow one."))
        elif not verdict.learns:
            points.append(
                Point(
                    task,
                    f"{CANNOT_RANK} (full {verdict.full:.3f}, untrained {verdict.untrained:.3f}; difference "
                    f"{signed(verdict.difference)}, interval {signed(verdict.low)} to {signed(verdict.high)}).",
                )
            )
        elif not verdict.can_rank:
            points.append(Point(task, f"{_why_no_room(verdict.headroom)}."))
    return [Points(tuple(points), "Shown below, not ranked")] if points else []


def _why_no_room(h: Headroom | None) -> str:
    if h is None:
        return _UNDECIDED
    at = f"{percent(h.retention)} %"
    return (
        f"{_NO_ROOM} (random at {at} {h.random:.3f}, {h.of_best} {h.best:.3f}; difference "
        f"{signed(h.difference)}, interval {signed(h.low)} to {signed(h.high)})"
    )


def _named(rival: str) -> str:
    return "the full pool" if rival == FULL else rival
