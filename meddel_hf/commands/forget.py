"""`meddel forget`: frames leave a store and its selections, and what they stood for is told."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from meddel_hf.commands import kinds, options
from meddel_hf.commands.printing import print_json
from meddel_hf.errors import InvalidArgument

HELP = "remove frames, as where a consent is withdrawn, from a store and its selections"
INTERRUPTED = "all folders are as they were, or the same command finishes the work"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "text file of the frames' ids, one a line; may be left out with --where"
    optional = [add("ids", metavar="[IDS]", type=kinds.path, help=text)]
    optional.append(options.embeddings(parser, "STORE"))
    text = "selections that were made from STORE"
    add("selections", metavar="SEL", nargs="*", default=[], type=kinds.path, help=text)
    for place in optional:  # who is missing is told below, since a lone folder is STORE
        place.required = False
    text = (
        "all frames of a value of a column of the pool, such as patient=p01; several values of a column may be given, "
    )
    text += "one after another; of two columns a frame must have both; folder=A/B: what lies in that folder or below it"
    add("--where", metavar="COLUMN=VALUE", action="append", default=[], type=kinds.column_and_value, help=text)
    options.pool(parser, "--pool", "where the frames are now, for --where (default: where they were)")
    options.as_json(parser)
    options.trust(parser)


def run(args: argparse.Namespace) -> int:
    from meddel_hf.data.pool import load_pool
    from meddel_hf.selectors.forgetting import forget

    where: dict[str, list[str]] = {}
    for column, value in args.where:
        where.setdefault(column, []).append(value)
    ids, store, selections = _places(args, bool(where))
    pool = None if args.pool is None else load_pool(args.pool)
    done = forget(_listed(ids), store, selections, where=where, pool=pool, trust=args.trust)
    if args.json:
        print_json(asdict(done))
    else:
        print(done)
    return int(not done.ids and not done.finished)


def _places(args: argparse.Namespace, where: bool) -> tuple[Path | None, Path, list[Path]]:
    """(file of ids, or None, STORE, SELs): the first place is STORE where --where is typed and it is a folder."""
    given = [place for place in (args.ids, args.embeddings, *args.selections) if place is not None]
    if not where and (not given or (len(given) == 1 and given[0].is_dir())):
        raise InvalidArgument(
            "nothing says which frames: give a file of ids, or a value with --where, such as patient=p01"
        )
    ids = given.pop(0) if given and not (where and given[0].is_dir()) else None
    if not given:
        raise InvalidArgument("STORE is missing: name the folder that `meddel embed` wrote")
    return ids, given[0], given[1:]


def _listed(path: Path | None) -> list[str]:
    from meddel_hf.runtime.reading import read_lines

    return [] if path is None else [line for line in read_lines(path, "a list of ids") if line]
