"""`meddel report`: benchmark runs become a page, figures and tables."""

from __future__ import annotations

import argparse
import shlex
import sys

from meddel_hf.commands import kinds, options
from meddel_hf.commands.printing import say
from meddel_hf.runtime import checks
from meddel_hf.runtime.words import plural

HELP = "make a page, figures and tables of benchmark runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "folder that `meddel benchmark run` writes; it need not be finished"
    add("runs", metavar="RUNS", type=kinds.path, help=text)
    add("--out", metavar="REPORT", type=kinds.path, default="report", help="folder to write (default: report)")
    text = "the pool that was selected from, for contact sheets of what was dropped; 'plan': as the plan names it"
    options.pool(parser, "--pool", text)
    text = "draws of an interval (default: 2000)"
    add("--draws", type=kinds.count(2, checks.MOST_DRAWS), default=2000, help=text)
    text = "share of the draws that an interval holds (default: 0.95)"
    add("--level", type=kinds.fraction, default=0.95, help=text)
    options.force(parser, of_another_step=True)
    options.trust(parser)
    options.seed(parser, "of the draws (default: 0)")


def run(args: argparse.Namespace) -> None:
    from meddel_hf.benchmark.cells import PLAN
    from meddel_hf.benchmark.data import Material
    from meddel_hf.benchmark.plan import Plan
    from meddel_hf.data.pool import load_pool
    from meddel_hf.report.build import report
    from meddel_hf.report.findings import Draws
    from meddel_hf.runtime.manifest import check_target

    out = check_target(args.out, "report")  # before the work
    pool = None
    if args.pool == "plan":
        pool = Material.of(Plan.load(args.runs / PLAN), str(args.runs / PLAN)).pool
    elif args.pool:
        pool = load_pool(args.pool)
    command = shlex.join(["meddel", *sys.argv[1:]])
    draws = Draws(args.draws, args.level, args.seed)
    written = report(args.runs, out, pool=pool, draws=draws, command=command, trust=args.trust)
    print(written.headline)
    say(
        f"\nwrote {written.page}; beside it report.md, {plural(written.pictures, 'figure')} and "
        f"{plural(written.tables, 'table')}"
    )
