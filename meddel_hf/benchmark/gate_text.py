"""What the gates found, as text: a table for each, then sentences that need no statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meddel_hf.benchmark.place import percent
from meddel_hf.benchmark.plan import HEADROOM, LEARNING, Gate
from meddel_hf.benchmark.results import in_words
from meddel_hf.benchmark.verdicts import NOTHING_TO_REMOVE, Headroom, Redundancy, Verdict
from meddel_hf.runtime.text_table import aligned

_PASSES: Mapping[Gate, str] = {
    LEARNING: "pre-training on the full pool beats no pre-training",
    HEADROOM: "the full pool, or the pool without its near-duplicates, is above random at the smallest retention",
}


def tables(verdicts: Mapping[str, Verdict]) -> str:
    """The first gate's table, and the second one's where it was decided."""
    parts = [_learning(verdicts)]
    if any(one.headroom for one in verdicts.values()):
        parts.append(_headroom(verdicts))
    return "\n\n".join(parts)


def sentences(verdicts: Mapping[str, Verdict], redundancy: Redundancy | None) -> list[str]:
    """How redundant the pool is; of each task what its gates say; and whether there is anything to choose."""
    lines = [] if redundancy is None else [of_pool(redundancy)]
    lines += [f"{task}: {of_task(one)}." for task, one in verdicts.items()]
    closing = nothing_to_choose(verdicts)
    return [*lines, f"{closing[0].upper()}{closing[1:]}."] if closing else lines


def of_pool(redundancy: Redundancy) -> str:
    if redundancy.share is None or redundancy.left is None:
        return f"How many near-duplicates the pool holds is not known: {redundancy.why}."
    share = (
        f"{redundancy.share:.1%} of the pool's frames are near-duplicates of others (cosine above {redundancy.eta:.3f})"
    )
    if redundancy.worth_removing is None:
        return f"Nothing to remove: {share}, less than {NOTHING_TO_REMOVE:.0%}."
    return f"{share}; without them {redundancy.left:.1%} of the pool is left."


def of_task(verdict: Verdict) -> str:
    """What the gates say of a task, without a full stop."""
    parts = [_learns(verdict)]
    if verdict.headroom is not None:
        parts.append(_has_room(verdict.headroom))
    elif "headroom" in verdict.gates and verdict.learns:
        parts.append("whether there is anything to choose could not be decided")
    return "; ".join(parts)


def nothing_to_choose(verdicts: Mapping[str, Verdict]) -> str:
    """Said where something is learned and no task has headroom, without a full stop; else nothing."""
    learned = [one for one in verdicts.values() if one.learns]
    asked = [one.headroom for one in learned if one.headroom is not None]
    if not asked or len(asked) < len(learned) or any(one.can_rank for one in learned):
        return ""
    at = percent(asked[0].retention)
    more = sum(one.is_below for one in asked)
    beyond = f", and more on {'it' if len(asked) == 1 else f'{more} of {len(asked)}'}" if more else ""
    return (
        f"nothing to choose here: random at {at} % does what all do on every measure{beyond}; go lower, train longer, "
        "or use another measure"
    )


def not_passed(gates: Sequence[Gate]) -> str:
    """Said where no task passed the gates that were asked: what would have passed them, and what to do."""
    asked = [_PASSES[gate] for gate in _PASSES if gate in gates]
    the_gates, intervals = ("the gates", "the intervals") if len(asked) > 1 else ("the gate", "the interval")
    return (
        f"No task passed {the_gates}: on none is it shown that {', and that '.join(asked)}, {intervals} clear of zero. "
        "No selector was run, since nothing could tell them apart. Raise samples or seeds, or add a more sensitive "
        "task."
    )


def _learns(verdict: Verdict) -> str:
    between = _between(verdict.difference, verdict.low, verdict.high)
    if verdict.passed:
        return f"pre-training on all is above none, {between}"
    return f"pre-training on all is not shown to be above none, {between}"


def _has_room(headroom: Headroom) -> str:
    best, at = headroom.of_best, percent(headroom.retention)
    between = _between(headroom.difference, headroom.low, headroom.high)
    if headroom.passed:
        return f"there is something to choose: {best} is above random at {at} %, {between}"
    if headroom.is_below:
        return f"{best} is below random at {at} %, {between}"
    return f"{best} is not shown to be above random at {at} %, {between}"


def _between(value: float, low: float, high: float) -> str:
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f})"


def _learning(verdicts: Mapping[str, Verdict]) -> str:
    rows = [("task", "measure", "full pool", "none", "difference", "", "learning")]
    rows += [
        (
            name, in_words(v.measure), f"{v.full:.4f}", f"{v.untrained:.4f}", f"{v.difference:+.4f}",
            f"[{v.low:+.4f}, {v.high:+.4f}]", _said(v.passed),
        )
        for name, v in verdicts.items()
    ]  # fmt: skip
    return aligned(rows, words=2)


def _headroom(verdicts: Mapping[str, Verdict]) -> str:
    rows = [("task", "measure", "random", "best", "of", "difference", "", "headroom")]
    for name, v in verdicts.items():
        h = v.headroom
        if h is not None:
            rows.append(
                (
                    name, in_words(v.measure), f"{h.random:.4f} at {percent(h.retention)} %", f"{h.best:.4f}",
                    h.by, f"{h.difference:+.4f}", f"[{h.low:+.4f}, {h.high:+.4f}]", _said(h.passed),
                )
            )  # fmt: skip
    return aligned(rows, words=2)


def _said(passed: bool) -> str:
    return "passed" if passed else "not passed"
