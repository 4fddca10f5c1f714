"""The second of two steps: an exact number of rows is drawn, by a rule, in shares, and above floors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.dedup.graph import SecondStep
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.runtime.similar import did_you_mean
from meddel_hf.selection.answer import Answer
from meddel_hf.selectors.floors import Floor, lifted
from meddel_hf.selectors.protocol import PoolRows
from meddel_hf.selectors.quotas import quotas
from meddel_hf.selectors.registry import make, names
from meddel_hf.selectors.strata import numbered, pool_of, values_of

Shares = Literal["proportional", "root", "equal"]
BY = (schema.CENTER, schema.SOURCE)  # columns of the strata, unless others are named
OPTIONS = ("then", "by", "per", "shares", "min_per")  # what says how rows are drawn
DEFAULT = "meddel"  # the rule that "auto" is: docs/results/pre-training
_STRATIFIED = "random-stratified"
# What a rule's short name stands for: a selector, and the options with which it fills.
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "stratified": (_STRATIFIED, {}),
    "balanced": ("balanced", {"subtract_mean": True}),
    "cover": ("max-herding", {"subtract_mean": True}),
    "meddel": ("meddel", {"subtract_mean": True, "epsilon": None}),
}
_BY_PAIRS = "meddel"
_POWERS: dict[str, float] = {"proportional": 1, "root": 0.5, "equal": 0}


@dataclass(frozen=True, eq=False)
class Drawn:
    """What was drawn.

    rows:   (n,) bool. notes: what a reader should know of it.
    second: what tells what another retention would draw; None where that is not by pairs alone, or none were stored.
    """

    rows: NDArray[np.bool_]
    notes: list[str]
    second: SecondStep | None


@dataclass(frozen=True)
class Filling:
    """How rows are drawn.

    then:    a rule of RULES, or the name of any selector.
    by:      columns of the strata of then="stratified"; those of BY may be missing, others not.
    per:     a column of the pool among whose values the rows are shared out; None: they are not.
    shares:  how: in "proportion" to what each value has, to its square root, or to all alike, as far as each has rows.
    min_per: column -> rows that each of its values keeps at least, or all that it has.
    """

    then: str
    seed: int
    by: tuple[str, ...]
    per: str | None
    shares: Shares
    min_per: Mapping[str, int]

    def draw(self, whole: PoolRows, left: Rows, first: NDArray[np.bool_], count: int, pool: Any) -> Drawn:
        """Draw `count` of the rows that an earlier step left.

        whole: all readable rows. left: (n,) their places among them, ascending.
        first: (n,) rows that are drawn before any other; of each value of `per`, whose share they do not change.
        pool: the data set that was embedded; None opens the one that the embeddings name, where columns are needed.
        Raises InvalidDataset where a column that was named is not there, InvalidArgument where the floors ask for more
        rows than are drawn.
        """
        readable = whole.among(left)
        rule, options, notes = self._rule(readable, pool)
        drawn, second = np.zeros(len(first), bool), None
        for rows, share in self._shared_out(readable, count, pool):
            drawn[rows], second = self._in_order(rule, options, readable.among(rows), first[rows], share, pool)
        floors = []
        for column, least in self.min_per.items():
            values = values_of(whole, pool, column)
            floors.append(Floor.of(column, [values[place] for place in left], least, values))
        drawn = lifted(drawn, floors, self.seed) if floors else drawn
        notes += [note for floor in floors for note in floor.shortfalls()]
        alone = self.per is None and not floors and count < first.sum()  # all are drawn among the same rows, by pairs
        return Drawn(drawn, notes, second if alone else None)

    def _rule(self, readable: PoolRows, pool: Any) -> tuple[str, dict[str, Any], list[str]]:
        """The selector, its options, and what is to be told of it."""
        selector, options = RULES.get(self.then, (self.then, {}))
        if not is_stratified(self.then):
            return selector, dict(options), []
        if self.by != BY:
            values_of(readable, pool, *self.by)
            return selector, {"by": self.by}, []
        dataset, why_not = pool_of(readable, pool)
        columns = [] if dataset is None else [name for name in BY if name in dataset.column_names]
        if columns:
            return selector, {"by": columns}, []
        why_not = why_not or f"the pool has no column {' or '.join(BY)}; --by names others"
        return "random", {}, [f"rows were drawn without strata: {why_not}"]

    def check(self, readable: PoolRows, pool: Any) -> None:
        """Raises what `draw` raises of columns that are not there, where nothing is to be drawn."""
        for column in (*self.min_per, *([] if self.per is None else [self.per])):
            values_of(readable, pool, column)
        if self.by != BY:
            values_of(readable, pool, *self.by)

    def _shared_out(self, readable: PoolRows, count: int, pool: Any) -> Iterator[tuple[Rows, int]]:
        """Rows of each value of `per`, and how many of them are drawn."""
        if self.per is None:
            yield np.arange(len(readable.rows)), count
            return
        value, size = numbered(values_of(readable, pool, self.per))
        weight = size.astype(np.float64) ** _POWERS[self.shares]
        for each, quota in enumerate(quotas(count * _capped(weight, size, count), size, count)):
            yield np.flatnonzero(value == each), int(quota)

    def _in_order(
        self, rule: str, options: dict[str, Any], readable: PoolRows, first: NDArray[np.bool_], count: int, pool: Any
    ) -> tuple[NDArray[np.bool_], SecondStep | None]:
        drawn, rows = first.copy(), np.flatnonzero(~first)
        if count < first.sum():
            drawn, rows = np.zeros(len(first), bool), np.flatnonzero(first)
        drawn[rows], second = self._ruled(rule, options, readable.among(rows), count - int(drawn.sum()), pool)
        return drawn, second

    def _ruled(
        self, selector: str, options: dict[str, Any], readable: PoolRows, count: int, pool: Any
    ) -> tuple[NDArray[np.bool_], SecondStep | None]:
        if count == 0:
            return np.zeros(len(readable.rows), bool), None
        if count == len(readable.rows):
            return np.ones(len(readable.rows), bool), None
        chosen = make(selector, retention=count / len(readable.ids), seed=self.seed, **options)
        answer: Answer = chosen.select(readable, pool=pool)
        kept: NDArray[np.bool_] = answer.table[schema.KEPT].to_numpy()[readable.rows]
        if kept.sum() != count:
            raise InvalidArgument(f"selector {selector!r} kept {kept.sum():,} of the {count:,} rows asked for")
        by_pairs = selector == _BY_PAIRS  # other selectors' graphs, where they have any, tell something else
        return kept, SecondStep.of(answer.graph, answer.density, count) if by_pairs else None


def is_stratified(then: str) -> bool:
    """Whether that rule reads strata."""
    return RULES.get(then, (then, {}))[0] == _STRATIFIED


def check_used(given: Collection[str], retention: float | None, then: str) -> None:
    """Raises InvalidArgument where an option would change nothing. given: the names of those that were given."""
    typed = [f"{name} (--{name.replace('_', '-')})" for name in OPTIONS if name in given]
    if retention is None and typed:
        raise InvalidArgument(
            f"{typed[0]} is about what is drawn where a retention asks for fewer frames than are no near-duplicates, "
            "and there is none: give a retention (--retention), or leave it out"
        )
    if "by" in given and not is_stratified(then):
        raise InvalidArgument(
            f"by (--by) names the strata of the rule 'stratified', and the rule is {then!r}: choose it with then "
            "(--then stratified), or leave by out"
        )
    if "shares" in given and "per" not in given:
        raise InvalidArgument(
            "shares (--shares) says how frames are shared out among the values of a column, and none is named: name "
            "one with per (--per), or leave shares out"
        )


def check_then(then: Any) -> None:
    """Raises InvalidArgument where `then` names neither a rule nor a selector."""
    if not isinstance(then, str) or then not in ("auto", *RULES, *names()) or then == "dedup":
        known = ["auto", *RULES, *(name for name in names() if name not in RULES and name != "dedup")]
        raise InvalidArgument(f"then must be one of {', '.join(known)}; got {then!r}{did_you_mean(then, known)}")


def _capped(weight: NDArray[np.float64], size: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Shares of `count` by weight where no part may take more than it has: what is over goes to the others, (k,)."""
    share, open_parts = np.zeros(len(size)), np.ones(len(size), bool)
    while True:
        left = count - size[~open_parts].sum()
        share = np.where(open_parts, left * weight / max(weight[open_parts].sum(), 1e-300), size)
        full = open_parts & (share > size)
        if not full.any():
            answer: NDArray[np.float64] = share / count
            return answer
        open_parts &= ~full
