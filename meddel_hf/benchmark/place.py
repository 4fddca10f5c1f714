"""What a plan asks for: places in the matrix, in its order. A plan that cannot be read so asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FULL, UNTRAINED = "full", "untrained"
DISTINCT, LADDER = "distinct", "ladder"  # the pool without its near-duplicates; random subsets of any size
RESERVED = (FULL, UNTRAINED, DISTINCT, LADDER)  # labels that no arm of a plan may have
MOST_SEEDS = 1000


@dataclass(frozen=True, order=True)
class Place:
    """Where a cell stands in the matrix; `percent` as in the folder's name, such as "5" or "33"."""

    arm: str
    percent: str
    seed: int

    @property
    def words(self) -> str:
        return f"{self.arm}, {self.percent} %, seed {self.seed}"


def series(task: str, set: str) -> str:
    """Name of one series of scores of a task of kind instance, such as "seen (trunk)": gates judge each by itself."""
    return f"{task} ({set})"


def percent(retention: float) -> str:
    """A retention as the folders are named: "5", "33", "0.5"."""
    return f"{100 * retention:g}"


def planned(plan: Mapping[str, Any]) -> tuple[Place, ...]:
    """Places that a plan asks for, in its order: the full pool, no pre-training, then every arm at every retention.

    Without arms, the first two alone."""
    arms = [label(arm) for arm in listed(plan.get("arms") or plan.get("selectors"))]
    try:
        retentions = [float(value) for value in listed(plan.get("retentions"))]
        seeds = plan.get("seeds", ())
        seeds = list(range(min(seeds, MOST_SEEDS))) if isinstance(seeds, int) else [int(seed) for seed in listed(seeds)]
    except (TypeError, ValueError, OverflowError):
        return ()
    columns = [(FULL, 1.0), (UNTRAINED, 0.0)]
    columns += [(arm, retention) for arm in arms for retention in retentions if retention < 1]
    return tuple(Place(arm, percent(retention), seed) for arm, retention in columns for seed in seeds)


def listed(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return [{"label": label} for label in value]
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def label(arm: Any) -> str:
    return str(arm.get("label") or arm.get("name") or arm.get("selector")) if isinstance(arm, Mapping) else str(arm)
