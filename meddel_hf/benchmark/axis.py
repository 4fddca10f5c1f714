"""Redundancy as an axis: one plan on pools of which more and more is near-copies, to see where choosing begins to pay.

RUNS/axis.json                 the levels, and which folder is whose
RUNS/pools/80/                 the pool of a level (data/near_copies.py), of as many frames as the plan's own
RUNS/redundancy-80/            runs of the plan on that pool, with gates and matrix of their own; "0": the pool as it is
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from meddel_hf.benchmark.cells import LOCKS, finished, read_json
from meddel_hf.benchmark.data import Material
from meddel_hf.benchmark.place import percent
from meddel_hf.benchmark.plan import Plan, PoolPart
from meddel_hf.data.near_copies import copies_of, with_near_copies
from meddel_hf.data.pool import Pool
from meddel_hf.errors import Mismatch, met_in
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.records import write_facts

AXIS, POOLS = "axis.json", "pools"


@dataclass(frozen=True)
class Level:
    """The plan on a pool of which `share` is near-copies, in [0, 1), and the folder of its runs."""

    share: float
    plan: Plan
    runs: Path


def folder(where: Path, share: float) -> Path:
    """Of a level's runs in the folder of all runs, and of its report in that of all reports."""
    return where / f"redundancy-{percent(share)}"


def levels(plan: Plan, runs: Path, where: str = "plan") -> Iterator[Level]:
    """Those of a plan that names redundancies, each with its pool, which is made when it is asked for.

    where: the plan is from, such as its file.

    Frames that are tested or excluded are left out before near-copies are made. Raises what `Material.of` and
    `with_near_copies` raise, and Mismatch where the folder is of another plan's axis.
    """
    alone = replace(plan, redundancy=())
    pool = Pool.of(Material.of(alone, where).pool)
    for share in filter(None, plan.redundancy):
        with met_in(f"{where}: redundancy"):
            copies_of(len(pool.ids or ()), share)  # told before the first level is run
    _record(plan, runs)
    for share in plan.redundancy:
        if not share:
            yield Level(share, alone, folder(runs, share))
            continue
        with FileLock(runs / LOCKS / "pools.lock"):
            made = with_near_copies(pool, share, runs / POOLS / percent(share))
        part = PoolPart(str(made), source="near-copies")
        yield Level(share, replace(alone, pool=(part,), exclude=()), folder(runs, share))


def each_level(
    plan: Plan, runs: Path, run: Callable[[Plan, Path], int], say: Callable[[str], None], where: str = "plan"
) -> list[int]:
    """Call `run` on every level, or on the plan itself where it names none. Returns what the calls did."""
    if not plan.redundancy:
        return [run(plan, runs)]
    answers = []
    for level in levels(plan, runs, where):
        what = f"{percent(level.share)} % of the pool are near-copies" if level.share else "the pool as it is"
        say(f"\n## {what}: {level.runs}\n")
        answers.append(run(level.plan, level.runs))
    return answers


def recorded(runs: Path) -> dict[float, Path] | None:
    """Share -> folder of its runs, of those that hold a finished cell; None where the folder holds no axis."""
    facts = read_json(runs / AXIS)
    if not facts:
        return None
    with intact(runs / AXIS):
        shares = [float(share) for share in facts["redundancy"]]
    return {share: folder(runs, share) for share in shares if any(finished(folder(runs, share)))}


def _record(plan: Plan, runs: Path) -> None:
    """axis.json; levels may be added to it."""
    (runs / LOCKS).mkdir(parents=True, exist_ok=True)
    with FileLock(runs / LOCKS / "axis.lock"):
        there = read_json(runs / AXIS)
        if there.get("name", plan.name) != plan.name:
            raise Mismatch(
                f"{runs} holds the redundancy axis of the plan {there['name']!r}, expected that of "
                f"{plan.name!r}: give another folder with --out, or, if it is the same plan under a new name, call it "
                f"{there['name']!r} again"
            )
        shares = sorted({*there.get("redundancy", ()), *plan.redundancy})
        write_facts(runs / AXIS, {"name": plan.name, "redundancy": shares})
