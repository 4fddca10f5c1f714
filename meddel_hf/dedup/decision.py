"""From an engine to a decision: at an eta, or at an exact number of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.density import CosineSample
from meddel_hf.dedup.passes import Engine, Pass, Rule, apply
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.runtime.checks import fraction

_MOST_PASSES = 24
_BELOW_ALL = -1.001  # an eta that every pair exceeds


@dataclass(frozen=True, eq=False)
class Decision:
    """Who stays, and for each row that goes as a near-duplicate, for whom.

    kept:         (n,) bool; rows outside every group are False.
    duplicate_of: (n,) int64, the kept row with the greatest cosine to it; -1 for rows that stay or are in no group.
    similarity:   (n,) float32, that cosine; -2 where there is none.
    eta:          the threshold that was used, or found.
    """

    kept: NDArray[np.bool_]
    duplicate_of: Rows
    similarity: NDArray[np.float32]
    eta: float


def at_eta(engine: Engine, rule: Rule, eta: float) -> Decision:
    """Drop near-duplicates above eta."""
    if rule == "greedy":
        return Decision(*engine.thinned(eta), eta)
    kept = apply(engine, rule, eta).kept
    return Decision(kept, *engine.nearest_kept(kept), eta)


def at_count(engine: Engine, rule: Rule, target: int, sample: CosineSample) -> Decision:
    """Keep exactly `target` of the rows in groups.

    The largest eta found that keeps no more decides; then the free places go to the dropped rows least similar to what
    that eta keeps (equals: keep order). Raises InvalidArgument where there are more groups than rows to keep.
    """
    if target < len(engine.groups):
        raise InvalidArgument(
            f"{target:,} rows are fewer than the {len(engine.groups):,} clusters, and each of them keeps one at least: "
            'ask for more rows or fewer clusters (n_clusters), or compare over the whole pool (scope="pool")'
        )
    eta, done = largest_eta(engine, rule, target, sample)
    kept = done.kept.copy()
    where, similarity = engine.nearest_kept(kept)
    free = target - done.count
    if free:
        order = np.concatenate(engine.groups)
        dropped = order[~kept[order]]
        kept[dropped[np.argsort(similarity[dropped], kind="stable")[:free]]] = True
        where[kept], similarity[kept] = -1, -2
        near, cosine = engine.nearest_kept(kept & ~done.kept, ~kept)  # what was kept before has been looked at
        rank = np.full(len(kept) + 1, len(kept), np.int64)  # the last is of no row, -1
        rank[order] = np.arange(len(order))
        nearer = (cosine > similarity) | ((cosine == similarity) & (rank[near] < rank[where]))
        where[nearer], similarity[nearer] = near[nearer], cosine[nearer]
    return Decision(kept, where, similarity, eta)


def largest_eta(engine: Engine, rule: Rule, target: int, sample: CosineSample) -> tuple[float, Pass]:
    """The largest eta found that keeps at most `target` rows, and its pass.

    Begins where the sample says, follows the sample's curve until both sides are known, then draws false positions on
    the logarithm of what stays. Ends within 1 % below the target, or when the two sides are 1e-6 apart. The etas tried
    depend on counts only, hence not on the engine.
    """
    order = np.concatenate(engine.groups)
    total = len(order)
    if target >= total:
        return 1.0, apply(engine, rule, 1.0)
    tolerance = target // 100
    aim = np.log(target - tolerance / 2)
    low, high, above, below = _BELOW_ALL, 1.0, np.log(total) - aim, -aim  # and how far log(count) is from the aim there
    best: Pass | None = None
    eta, step, last_side = sample.eta_for(target), 0.02, 0
    for _ in range(_MOST_PASSES):
        # A near miss is worth finishing, since its count steers the next try.
        done = apply(engine, rule, eta, target + target // 4)
        if done.count <= target:
            best, low, below = done, eta, np.log(done.count) - aim
            side = -1
        else:
            high, above = eta, np.log(_foreseen(done, best, order)) - aim
            side = 1
        if high - low < 1e-6 or (best is not None and target - best.count <= tolerance):
            break
        if low > _BELOW_ALL and high < 1:
            if side == last_side:  # the Illinois rule: an end that stands still counts half
                above, below = (above / 2, below) if side < 0 else (above, below / 2)
            eta = low + (high - low) * float(np.clip(below / (below - above), 0.02, 0.98))
        else:
            guess = sample.eta_for(sample.kept(eta) * float(np.exp(-below if side < 0 else -above)))
            near, far = sorted((eta - side * step / 4, eta - side * step))
            eta = float(np.clip(np.clip(guess, near, far), low + (high - low) / 20, high - (high - low) / 20))
            step *= 2
        last_side = side
    return (_BELOW_ALL, apply(engine, rule, _BELOW_ALL)) if best is None else (low, best)


def _foreseen(stopped: Pass, complete: Pass | None, order: Rows) -> float:
    """What a pass that stopped early would have kept, from how a complete one went on after the same share of rows."""
    if stopped.complete or complete is None:
        return stopped.count / stopped.share
    seen = complete.kept[order[: round(stopped.share * len(order))]]
    return stopped.count * complete.count / max(1, int(seen.sum()))


def rows_for(retention: float, pool: int, most: int) -> int:
    """round(retention * pool); raises InvalidArgument where that is no row, or more than `most` rows can stay."""
    fraction("retention", retention)
    rows = round(retention * pool)
    if rows < 1:
        raise InvalidArgument(
            f"retention {retention} of {pool:,} rows is no row at all: ask for at least {1 / pool:.2g}"
        )
    if rows > most:
        raise InvalidArgument(
            f"retention {retention} asks for {rows:,} of {pool:,} rows, but only {most:,} are readable and no outliers "
            f"(retention {most / pool:.4f}): ask for less, raise epsilon, or turn the outlier step off (epsilon=None)"
        )
    return rows
