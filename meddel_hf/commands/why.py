"""`meddel why`: what became of a frame."""

from __future__ import annotations

import argparse

from meddel_hf.commands import options
from meddel_hf.commands.printing import print_json

HELP = "say what became of a frame"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.selection(parser)
    parser.add_argument(
        "ids", metavar="ID", nargs="+", help="id of a frame, its row number, its file, or the end of its id"
    )
    options.as_json(parser)


def run(args: argparse.Namespace) -> None:
    from meddel_hf.selection.answer import Answer

    selection = Answer.load(args.selection)
    if args.json:
        print_json([selection.row(which) | {"why": selection.why(which)} for which in args.ids])
        return
    for which in args.ids:
        print(selection.why(which))
