"""`meddel build`: the arguments, and what is printed. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse

from meddel_hf.runtime import checks, options
from meddel_hf.runtime.exits import exit_status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("raw", metavar="RAW", type=options.path, nargs="+", help="folder with the owners' archives, packed or unpacked")
    add("--out", type=options.path, required=True, help="folder to write; a build that was stopped goes on there")
    add("--source", dest="sources", metavar="NAME", action="append", help="build only this source (may be repeated)")
    add("--fps", type=options.number(0, 1000), help="frames per second to take from videos (default: leave videos out)")
    add("--workers", type=options.count(1, checks.MOST_PROCESSES), help="processes (default: one for each processor)")
    add("--preview", action="store_true", help="write a contact sheet for each configuration, masks and boxes drawn")
    add("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Do what `add_arguments` asked for. Returns the exit status: 0, 2 after an error, 130 after Ctrl-C."""
    return exit_status(
        lambda: _run(args), interrupted="finished parts are kept, and the same command goes on from there"
    )


def _run(args: argparse.Namespace) -> None:
    from meddel_hf.datadel.build import build
    from meddel_hf.files import check_can_write

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
    print(done)
    print(f'\nwrote {args.out}; open it with load_dataset("{args.out}", "{done.facts.sources[0].name}", split="train")')
