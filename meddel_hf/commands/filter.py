"""`meddel filter`: the kept frames as a data set."""

from __future__ import annotations

import argparse

from meddel_hf.commands import kinds, options
from meddel_hf.commands.apart import tell_if_inside
from meddel_hf.commands.printing import say
from meddel_hf.runtime.words import plural

HELP = "write the kept frames as a data set that load_dataset opens"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.selection(parser)
    options.pool(parser, help="the pool that was embedded: a folder of images, a data set folder or a Hub id")
    options.out(parser)
    options.force(parser, of_another_step=True)
    options.include(parser)
    parser.add_argument("--license", metavar="ID", help="licence to name in the card, such as cc-by-4.0")
    options.strip_metadata(parser)
    text = "hash ids and groups with the key in KEYFILE (default: OUT.key; a new one is made where there is none)"
    parser.add_argument(
        "--hash-ids", metavar="KEYFILE", nargs="?", type=kinds.path, const=True, default=False, help=text
    )
    text = "write image files, at their ids, and metadata.jsonl, in place of Parquet"
    parser.add_argument("--images", action="store_true", help=text)
    options.trust(parser)


def run(args: argparse.Namespace) -> None:
    from meddel_hf.data.pool import load_pool
    from meddel_hf.data.scan import tell
    from meddel_hf.runtime.manifest import check_target
    from meddel_hf.selection.folder import write_subset
    from meddel_hf.selection.selection import Selection
    from meddel_hf.selection.subset import Subset

    check_target(args.out, "subset")  # before the work
    tell_if_inside(args.out, args.pool)
    selection = Selection.load(args.selection, trust=args.trust)  # first: a pool takes minutes to open, or a Hub to ask
    pool = load_pool(args.pool, include=args.include)
    tell(pool)
    subset = selection.filter(pool)
    assert isinstance(subset, Subset)  # load_pool does not stream unless told to
    facts = {"license": args.license} if args.license else {}
    written = write_subset(subset, args.out, args.strip_metadata, args.hash_ids, facts, args.images)
    written.findings.tell(stripped=args.strip_metadata)
    say(f'wrote {plural(len(subset), "frame")}; open them with load_dataset("{args.out}", split="train")')
    if written.key is not None:
        say(f"ids are hashed with the key {written.key}: keep it, it is not published")
        say(f"columns as they came: {', '.join(written.as_they_came)}")
