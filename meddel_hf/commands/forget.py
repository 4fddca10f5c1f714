"""`meddel forget`: frames leave a store and its selections, and what they stood for is told."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from meddel_hf.commands import kinds, options
from meddel_hf.commands.printing import print_json

HELP = "remove frames, as where a consent is withdrawn, from a store and its selections"
INTERRUPTED = "all folders are as they were, or the same command finishes the work"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("ids", metavar="IDS", type=kinds.path, help="text file of the frames' ids, one a line")
    options.embeddings(parser, "STORE")
    add("selections", metavar="SEL", nargs="*", type=kinds.path, help="selections that were made from STORE")
    options.as_json(parser)
    options.trust(parser)


def run(args: argparse.Namespace) -> int:
    from meddel_hf.runtime.reading import read_lines
    from meddel_hf.selectors.forgetting import forget

    lines = read_lines(args.ids, "a list of ids")
    done = forget([line for line in lines if line], args.embeddings, args.selections, trust=args.trust)
    if args.json:
        print_json(asdict(done))
    else:
        print(done)
    return int(not done.ids and not done.finished)
