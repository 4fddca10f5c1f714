"""`meddel build`: the owners' archives become one data set."""

from __future__ import annotations

import argparse

from meddel_hf.commands import kinds, options
from meddel_hf.commands.printing import print_json, say
from meddel_hf.runtime import checks

HELP = "turn the owners' archives into one data set, DataDEL"
INTERRUPTED = "finished parts are kept, and the same command goes on from there"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("raw", metavar="RAW", type=kinds.path, nargs="+", help="folder with the owners' archives, packed or unpacked")
    options.out(parser, "folder to write; a build that was stopped goes on there")
    add("--source", dest="sources", metavar="NAME", action="append", help="build only this source (may be repeated)")
    add("--fps", type=kinds.number(0, 1000), help="frames per second to take from videos (default: leave videos out)")
    add("--workers", type=kinds.count(1, checks.MOST_PROCESSES), help="processes (default: one for each processor)")
    add("--preview", action="store_true", help="write a contact sheet for each configuration, masks and boxes drawn")
    options.as_json(parser)
    options.quiet(parser, "show no progress")


def run(args: argparse.Namespace) -> None:
    from meddel_hf.datadel.build import build
    from meddel_hf.runtime.files import check_can_write

    check_can_write(args.out)  # before the work
    done = build(
        args.raw,
        args.out,
        sources=args.sources,
        fps=args.fps,
        workers=args.workers,
        previews=args.preview,
        quiet=args.quiet,
    )
    if args.json:
        print_json(done.summary)
    else:
        print(done)
    say(f'\nwrote {args.out}; open it with load_dataset("{args.out}", "{done.facts.sources[0].name}", split="train")')
