"""`meddel report`: the arguments, and what is printed. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import shlex
import sys

from meddel_hf.runtime import checks, options
from meddel_hf.runtime.exits import exit_status
from meddel_hf.schema import TRUST


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "folder that `meddel benchmark run` writes; it need not be finished"
    add("runs", metavar="RUNS", type=options.path, help=text)
    add("--out", metavar="REPORT", type=options.path, default="report", help="folder to write (default: report)")
    add("--pool", metavar="POOL", type=options.text, help="the pool that was selected from, for contact sheets of "
        "what was dropped; 'plan': as the plan names it")  # fmt: skip
    add("--draws", type=options.count(2, checks.MOST_DRAWS), default=2000, help="draws of the bootstrap (default: "
        "2000)")  # fmt: skip
    add("--level", type=options.fraction, default=0.95, help="share of the draws that an interval holds (default: "
        "0.95)")  # fmt: skip
    add("--trust", action="store_true", help=TRUST)
    add("--seed", type=options.seed, default=0, help="of the bootstrap (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Do what `add_arguments` asked for. Returns the exit status: 0, 2 after an error, 130 after Ctrl-C."""
    return exit_status(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    from meddel_hf.benchmark.material import Material
    from meddel_hf.benchmark.places import PLAN
    from meddel_hf.benchmark.plan import Plan
    from meddel_hf.pool import load_pool
    from meddel_hf.report.build import report
    from meddel_hf.report.findings import Draws
    from meddel_hf.schema import check_target

    out = check_target(args.out, "report")  # before the work
    pool = None
    if args.pool == "plan":
        pool = Material.of(Plan.load(args.runs / PLAN)).pool
    elif args.pool:
        pool = load_pool(args.pool)
    command = shlex.join(["meddel", *sys.argv[1:]])
    draws = Draws(args.draws, args.level, args.seed)
    written = report(args.runs, out, pool=pool, draws=draws, command=command, trust=args.trust)
    print(written.headline)
    print(f"\nwrote {written.page}; beside it report.md, {written.pictures} figures and {written.tables} tables")
