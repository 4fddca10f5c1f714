"""The rungs of a ladder: random subsets from 0.1 % of a pool to all of it."""

from __future__ import annotations

from meddel_hf.benchmark.cells import RANDOM, CellPlan, gate_cells
from meddel_hf.benchmark.place import LADDER
from meddel_hf.benchmark.plan import Arm, Plan

SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # of the pool; the last rung is all of it
LEAST_FRAMES = 2  # of a subset that is not one frame again and again


def rungs(frames: int) -> list[float]:
    """Shares of a pool of so many frames that are at least `LEAST_FRAMES` of it, ascending."""
    return [share for share in SHARES if round(share * frames) >= LEAST_FRAMES]


def left_out(frames: int) -> list[float]:
    """Shares that are too few frames of a pool of so many."""
    return [share for share in SHARES if share not in rungs(frames)]


def ladder_cells(plan: Plan, frames: int) -> list[CellPlan]:
    """The full pool and no pre-training, as in the gate; then a whole replicate of rungs after the other."""
    arm = Arm(LADDER, RANDOM)
    return [*gate_cells(plan), *(CellPlan(arm, share, seed) for seed in plan.seeds for share in rungs(frames))]
