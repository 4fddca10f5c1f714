"""`meddel benchmark`: `run` a plan, climb its `ladder`, `pack` the evidence of its runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddel_hf.commands import kinds, options
from meddel_hf.commands.printing import print_json, say
from meddel_hf.runtime.words import plural, verb

if TYPE_CHECKING:
    from meddel_hf.benchmark.cells import CellPlan
    from meddel_hf.benchmark.matrix import Outcome
    from meddel_hf.benchmark.plan import Plan
    from meddel_hf.runtime.shard import Shard

    Groups = tuple[tuple[str, list[CellPlan]], ...]  # title -> cells

HELP = "compare selectors: pre-train, test and weigh a whole matrix of runs"
INTERRUPTED = "the same command goes on with what is missing"
NOT_PASSED, LATER = 3, 75  # exit statuses; 75 is sysexits' EX_TEMPFAIL: try again later


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "run what is missing of a plan: the gates first, then selectors x retentions x seeds"
    sub = verbs.add_parser("run", help=text, description=text[0].upper() + text[1:] + ".", epilog=_EXITS)
    sub.set_defaults(benchmark=_run)
    _of_cells(sub)
    sub.add_argument("--gate-only", action="store_true", help="the cells of the gates, and no selector")

    text = "how few frames are enough: random subsets of a plan's pool, from a thousandth to all of it"
    sub = verbs.add_parser("ladder", help=text, description=text[0].upper() + text[1:] + ".", epilog=_LADDER_EXITS)
    sub.set_defaults(benchmark=_ladder)
    _of_cells(sub)

    text = "put a matrix's evidence into one file: plan, gate, selections and the score of every frame"
    sub = verbs.add_parser("pack", help=text, description=text[0].upper() + text[1:] + ".")
    sub.set_defaults(benchmark=_pack)
    sub.add_argument("runs", metavar="RUNS", type=kinds.path, help="folder that `meddel benchmark run` wrote")
    sub.add_argument(
        "--out", type=kinds.path, required=True, metavar="FILE", help="a .tar.xz; meddel report reads it unpacked"
    )


_EXITS = f"Status: 0 done, 2 error, {NOT_PASSED} no task passed the gates, {LATER} gate cells of other shards missing."
_LADDER_EXITS = f"Status: 0 done, 2 error, {LATER} cells of other shards missing."


def _of_cells(parser: argparse.ArgumentParser) -> None:
    """What all verbs take that run a plan's cells."""
    add = parser.add_argument
    text = "YAML file; docs/how-to/compare-selectors.md says what stands in it"
    add("plan", metavar="PLAN", type=kinds.path, help=text)
    text = "folder to write; an interrupted one goes on (default: runs/PLAN)"
    add("--out", type=kinds.path, metavar="RUNS", help=text)
    add("--dry-run", action="store_true", help="print the cells and an estimate, and run nothing")
    add("--shard", default="1/1", metavar="I/N", help="run the I-th of N parts of the cells, for a job array")
    text = "folder of decoded frames, shared by cells (default: in RUNS)"
    add("--frames", type=kinds.path, metavar="DIR", help=text)
    options.as_json(parser)
    options.device(parser)
    options.quiet(parser, "no progress bars; a line for each cell stays")


def run(args: argparse.Namespace) -> int:
    """Returns the exit status, see `_EXITS`."""
    return int(args.benchmark(args))


def _pack(args: argparse.Namespace) -> int:
    from meddel_hf.benchmark.pack import pack
    from meddel_hf.runtime.files import check_can_write

    check_can_write(args.out)
    say(f"wrote {args.out}, {pack(args.runs, args.out):,} bytes")
    return 0


def _run(args: argparse.Namespace) -> int:
    plan, shard = _planned(args)
    from meddel_hf.benchmark.matrix import run as run_matrix

    return _with_plan(plan, shard, args, partial(run_matrix, gate_only=args.gate_only), _sum_up, _cells_of_run)


def _ladder(args: argparse.Namespace) -> int:
    plan, shard = _planned(args)
    from meddel_hf.benchmark.matrix import run_ladder

    return _with_plan(plan, shard, args, run_ladder, _sum_up_ladder, _cells_of_ladder)


def _planned(args: argparse.Namespace) -> tuple[Plan, Shard]:
    """What the file itself can be told of, before imports that take seconds."""
    from meddel_hf.benchmark.arms import check_arms
    from meddel_hf.benchmark.plan import Plan
    from meddel_hf.runtime.shard import Shard

    plan, shard = Plan.load(args.plan), Shard.parse(args.shard)
    check_arms(plan, str(args.plan))
    return plan, shard


def _with_plan(
    plan: Plan,
    shard: Shard,
    args: argparse.Namespace,
    run_cells: Callable[..., Outcome],
    sum_up: Callable[[Plan, Path, Outcome], int],
    cells_of: Callable[[Plan, int, argparse.Namespace], Groups],
) -> int:
    from meddel_hf.benchmark.axis import each_level
    from meddel_hf.benchmark.ladder import ladders
    from meddel_hf.benchmark.results import read
    from meddel_hf.runtime.files import check_can_write
    from meddel_hf.runtime.processes import leave
    from meddel_hf.runtime.shard import is_first

    main = is_first()
    try:
        runs = args.out or Path("runs") / args.plan.stem
        for folder in [] if args.dry_run else [runs, args.frames or runs]:
            check_can_write(folder)
        if args.dry_run:
            _dry_run(plan, runs, shard, args, cells_of)
            return 0

        facts: list[dict[str, Any]] = []

        def run_level(plan: Plan, runs: Path) -> int:
            outcome = run_cells(
                plan, runs, shard=shard, frames=args.frames, device=args.device, say=_say, progress=not args.quiet,
                where=str(args.plan),
            )  # fmt: skip
            if not main:
                return 0
            if not args.json:
                return sum_up(plan, runs, outcome)
            facts.append({"runs": runs, **_facts(outcome)})
            if cells_of is _cells_of_ladder:
                facts[-1]["ladders"] = [asdict(one) for one in ladders(read(runs), level=plan.gate_level)]
            with redirect_stdout(sys.stderr):  # what is said of it, and the status
                return sum_up(plan, runs, outcome)

        status = _status(each_level(plan, runs, run_level, _say if main else _say_nothing, str(args.plan)))
        if args.json and main:
            print_json(facts)
        return status
    finally:
        leave()


def _facts(outcome: Outcome) -> dict[str, Any]:
    """What there is to know of a level's cells, and of its gates where it has any."""
    verdicts = outcome.verdicts or {}
    return {
        "ran": outcome.ran,
        "locked": len(outcome.locked),
        "waiting": len(outcome.waiting),
        "diverged": [{"cell": one.place.words, "why": one.sentence} for one in outcome.diverged],
        "tasks": [{"task": task, **asdict(verdict)} for task, verdict in verdicts.items()],
        "redundancy": None if outcome.redundancy is None else asdict(outcome.redundancy),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _say_nothing(line: str) -> None:
    """Of processes that are not the main one."""


def _status(levels: Sequence[int]) -> int:
    """Of the levels of an axis: something is left, else something was passed, else nothing was."""
    return LATER if LATER in levels else min(levels)


def _sum_up(plan: Plan, runs: Path, outcome: Outcome) -> int:
    from meddel_hf.benchmark.gate_text import not_passed, nothing_to_choose, sentences, tables

    for name in outcome.labelled:
        print(f"\n{name}\n\n{_choices(runs, name)}")
    if not plan.trained_tasks:
        say(f"\nread it with: meddel report {runs}")
        return 0 if len(outcome.labelled) == len(plan.label_tasks) else LATER
    _tell_left(outcome)
    if outcome.verdicts is None:
        say(
            f"{plural(len(outcome.waiting), 'cell of the gate is', 'cells of the gate are')} still to be finished by "
            f"other shards, such as {outcome.waiting[0].place.words}: run the shards again once they are"
        )
        return LATER
    if outcome.verdicts:
        print(f"\n{tables(outcome.verdicts)}\n")
    else:
        print("\nNo gate could be decided: of no seed are both the full pool and no pre-training finished.")
    for line in sentences(outcome.verdicts, outcome.redundancy):
        print(line)
    if not outcome.verdicts or nothing_to_choose(outcome.verdicts):
        print("No selector was run.")
    elif not outcome.passed:
        print(not_passed(plan.asked_gates))
    if measured := _measured(plan, runs):
        print(f"\n{measured}\n")
    say(f"{plural(outcome.ran, 'cell')} run; read them with: meddel report {runs}")
    return 0 if outcome.passed else NOT_PASSED


def _sum_up_ladder(plan: Plan, runs: Path, outcome: Outcome) -> int:
    from meddel_hf.benchmark.ladder import ladders, table
    from meddel_hf.benchmark.results import read
    from meddel_hf.benchmark.rungs import LEAST_FRAMES, left_out

    _tell_left(outcome)
    if outcome.waiting:
        say(
            f"{plural(len(outcome.waiting), 'cell is', 'cells are')} still to be finished by other shards, such as "
            f"{outcome.waiting[0].place.words}: run the shards again once they are"
        )
        return LATER
    read_runs = read(runs)
    made = ladders(read_runs, level=plan.gate_level)
    if made:
        print(f"\n{table(made)}\n")
    pool = read_runs.pool
    too_small = left_out(0 if pool is None else pool.num_rows)
    if too_small:
        named = ", ".join(f"{100 * share:g} %" for share in too_small)
        print(f"Left out, fewer than {LEAST_FRAMES} frames of the pool: {named}.")
    for one in made:
        print(one.sentence)
    say(f"{plural(outcome.ran, 'cell')} run; read them with: meddel report {runs}")
    return 0


def _tell_left(outcome: Outcome) -> None:
    """Cells that are another process's, and those that diverged."""
    if outcome.locked:
        say(f"{plural(len(outcome.locked), 'cell is', 'cells are')} being run by another process, and left to it")
    for one in outcome.diverged:
        say(
            f"diverged, and in no mean: {one.place.words}: {one.sentence} (the cell is tried again once its "
            "diverged.json is deleted)"
        )


def _measured(plan: Plan, runs: Path) -> str:
    """What the selections cover, as a table; empty where nothing was measured."""
    from meddel_hf.benchmark.measures import measured_places, table

    return table(measured_places(runs, [arm.label for arm in plan.arms]), plan.gate_level)


def _choices(runs: Path, task: str) -> str:
    """What came out of a task of kind labels, as a table and what it shows."""
    from meddel_hf.benchmark.labels import folder
    from meddel_hf.downstream.labels.compare import load_outcomes
    from meddel_hf.downstream.labels.outcomes import text

    return text(load_outcomes(folder(runs, task)))


def _cells_of_run(plan: Plan, frames: int, args: argparse.Namespace) -> Groups:
    """What a run asks for; whether near-duplicates are removed for a gate is known once the pool is embedded."""
    from meddel_hf.benchmark.cells import arm_cells, gate_cells, random_cells

    arms = [] if args.gate_only else arm_cells(plan)
    gate = gate_cells(plan)
    if "headroom" in plan.asked_gates:
        gate += [cell for cell in random_cells(plan) if cell not in arms]
    return (("gate", gate), ("matrix", arms))


def _cells_of_ladder(plan: Plan, frames: int, args: argparse.Namespace) -> Groups:
    from meddel_hf.benchmark.rungs import ladder_cells

    return (("ladder", ladder_cells(plan, frames)),)


def _dry_run(
    plan: Plan,
    runs: Path,
    shard: Shard,
    args: argparse.Namespace,
    cells_of: Callable[[Plan, int, argparse.Namespace], Groups],
) -> None:
    from meddel_hf.benchmark.axis import folder
    from meddel_hf.benchmark.cells import DIVERGED, is_finished, is_pretrained
    from meddel_hf.benchmark.estimate import in_words, measured, samples_per_second
    from meddel_hf.benchmark.matrix import check
    from meddel_hf.downstream.labels.budgets import named

    material = check(plan, runs, str(args.plan))
    for task in plan.label_tasks:
        budgets = ", ".join(map(named, task.budgets))
        print(f"labels  {task.name}: {plural(len(plan.arms), 'arm')}, {task.splits} splits, budgets {budgets}")
    if plan.pretraining is None:
        return
    n, gone = len(material.pool), len(material.excluded)
    print(f"pool: {plural(n, 'frame')}, {gone:,} left out since they are tested downstream or excluded")
    todo = to_test = 0
    places = [folder(runs, share) for share in plan.redundancy] or [runs]
    for place in places:
        if plan.redundancy:
            print(f"\n{place}")
        for title, group in cells_of(plan, n, args):
            for cell in shard.part(group):
                finished, trained = is_finished(cell, place, plan), is_pretrained(cell, place)
                diverged = not finished and (cell.folder(place) / DIVERGED).is_file()
                state = "begun" if cell.folder(place).is_dir() else "to run"
                state = "finished" if finished else "pre-trained, to be tested" if trained else state
                state = "diverged, not tried again" if diverged else state
                frames = round(cell.retention * n)
                print(f"{title:<8}{cell.place.words:<40}{frames:>10,} {verb(frames, 'frame ', 'frames')}  {state}")
                todo += not finished and not diverged and not trained and bool(cell.retention)
                to_test += trained and not finished
    each, by = measured(places[0]), f"finished cells in {places[0]} took, tasks included"
    if each is None:
        speed = samples_per_second(plan.pretraining, args.device)
        each, by = plan.pretraining.samples / speed, f"{speed:,.0f} samples/s measured now; tasks come on top"
    print(
        f"\n{plural(todo, 'cell')}"
        f" to pre-train, {plan.pretraining.samples:,} samples each, about {in_words(each)} each ({by})"
    )
    if to_test:
        print(f"{plural(to_test, 'cell is', 'cells are')} pre-trained and left to be tested, which comes on top")
    print(f"in all about {in_words(each * todo)} on one machine like this")
    if cells_of is _cells_of_run and "headroom" in plan.asked_gates:
        print(
            f"{plural(len(plan.seeds), 'cell')} of the pool without its near-duplicates "
            f"{verb(len(plan.seeds), 'comes', 'come')} on top, where a tenth of it or more are"
        )
