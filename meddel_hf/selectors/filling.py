"""The second of two steps: an exact number of rows is drawn, by a rule, in shares, and above floors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.errors import InvalidArgument
from meddel_hf.selectors.floors import Floor, lifted
from meddel_hf.selectors.protocol import Readable
from meddel_hf.selectors.quotas import quotas
from meddel_hf.selectors.registry import make, names
from meddel_hf.selectors.strata import pool_of, strata

Shares = Literal["proportional", "root", "equal"]
# What a rule's short name stands for: a selector, and the options with which it fills.
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "stratified": ("random-stratified", {}),
    "balanced": ("balanced", {"subtract_mean": True}),
    "cover": ("max-herding", {"subtract_mean": True}),
    "meddel": ("meddel", {"subtract_mean": True, "epsilon": None}),
}
_POWERS: dict[str, float] = {"proportional": 1, "root": 0.5, "equal": 0}


@dataclass(frozen=True)
class Filling:
    """How rows are drawn.

    then:    a rule of RULES, or the name of any selector.
    by:      columns of the strata of then="stratified".
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

    def draw(
        self, readable: Readable, first: NDArray[np.bool_], count: int, pool: Any
    ) -> tuple[NDArray[np.bool_], list[str]]:
        """Draw `count` of the readable rows: (n,) bool, and what a reader should know of it.

        first: (n,) rows that are drawn before any other.
        pool: the data set that was embedded; None opens the one that the embeddings name, where columns are needed.
        Raises InvalidDataset where a column that was named is not there, InvalidArgument where the floors ask for more
        rows than are drawn.
        """
        rule, options, notes = self._rule(readable, pool)
        drawn, rows = first.copy(), np.flatnonzero(~first)
        if count < first.sum():
            drawn, rows = np.zeros(len(first), bool), np.flatnonzero(first)
        drawn[rows] = self._shared(rule, options, readable.among(rows), count - int(drawn.sum()), pool)
        if self.min_per:
            floors = [Floor.of(column, strata(readable, pool, [column]), rows) for column, rows in self.min_per.items()]
            drawn = lifted(drawn, floors, self.seed)
            notes += [note for floor in floors for note in floor.shortfalls()]
        return drawn, notes

    def _rule(self, readable: Readable, pool: Any) -> tuple[str, dict[str, Any], list[str]]:
        """The selector, its options, and what is to be told of it."""
        selector, options = RULES.get(self.then, (self.then, {}))
        if self.then != "stratified":
            return selector, dict(options), []
        dataset, why_not = pool_of(readable, pool)
        if not isinstance(dataset, Dataset):
            return "random", {}, [f"rows were drawn without strata: {why_not}"] if why_not else []
        columns = [name for name in self.by if name in dataset.column_names]
        return (selector, {"by": columns}, []) if columns else ("random", {}, [])

    def _shared(
        self, rule: str, options: dict[str, Any], readable: Readable, count: int, pool: Any
    ) -> NDArray[np.bool_]:
        if self.per is None or count == 0:
            return self._ruled(rule, options, readable, count, pool)
        drawn = np.zeros(len(readable.rows), bool)
        values = np.array(strata(readable, pool, [self.per]), object)
        _, value, size = np.unique(values, return_inverse=True, return_counts=True)
        weight = size.astype(np.float64) ** _POWERS[self.shares]
        for each, quota in enumerate(quotas(count * _capped(weight, size, count), size, count)):
            rows = np.flatnonzero(value == each)
            drawn[rows] = self._ruled(rule, options, readable.among(rows), int(quota), pool)
        return drawn

    def _ruled(
        self, selector: str, options: dict[str, Any], readable: Readable, count: int, pool: Any
    ) -> NDArray[np.bool_]:
        if count == 0:
            return np.zeros(len(readable.rows), bool)
        if count == len(readable.rows):
            return np.ones(len(readable.rows), bool)
        chosen: Any = make(selector, retention=count / len(readable.ids), seed=self.seed, **options)
        kept: NDArray[np.bool_] = chosen.select(readable, pool=pool).table[schema.KEPT].to_numpy()[readable.rows]
        if kept.sum() != count:
            raise InvalidArgument(f"selector {selector!r} kept {kept.sum():,} of the {count:,} rows asked for")
        return kept


def check_then(then: Any) -> None:
    """Raises InvalidArgument where `then` names neither a rule nor a selector."""
    if not isinstance(then, str) or then not in ("auto", *RULES, *names()) or then == "dedup":
        known = ", ".join(["auto", *RULES, *(name for name in names() if name not in RULES and name != "dedup")])
        raise InvalidArgument(f"then must be one of {known}; got {then!r}")


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
