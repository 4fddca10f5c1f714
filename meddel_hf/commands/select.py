"""`meddel select`: a selector answers, and its answer is written with pictures of what it did."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meddel_hf.commands import kinds, options
from meddel_hf.errors import InvalidArgument, MedDELError
from meddel_hf.selectors.registry import names

if TYPE_CHECKING:
    from meddel_hf.selection.selection import Selection

HELP = "choose frames, and say why each other one went"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.embeddings(parser)
    add("--selector", metavar="NAME", default="meddel", help=f"one of {', '.join(names())} (default: meddel)")
    add("--option", metavar="KEY=VALUE", action="append", default=[], help="of another selector, such as keep=random")
    much = parser.add_mutually_exclusive_group(required=True)
    much.add_argument("--retention", type=kinds.fraction, help="share of the pool to keep, exactly; in (0, 1]")
    much.add_argument("--eta", type=kinds.number(-1, 1), help="or: cosine above which two frames are near-duplicates")
    options.out(parser)
    options.pool(parser, "--pool", "where the frames are now, for pictures and strata (default: where they were)")
    add("--no-pictures", action="store_true", help="write no pictures")
    options.trust(parser)
    options.meddel(parser)


def run(args: argparse.Namespace) -> None:
    from meddel_hf.runtime.manifest import check_target

    check_target(args.out, "selection")  # before the work
    selection = _selection(args)
    drawn: list[str] = []
    if args.no_pictures:
        selection.save(args.out)
    else:
        selection.save(
            args.out, pictures=lambda folder: drawn.extend(_pictures(selection, folder, args.pool, args.out))
        )
    print(selection.summary)
    for note in selection.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"\nwrote {args.out}/rows.parquet: every frame, its reason, and the frame that stands for it")
    for line in drawn:
        print(line)


def _selection(args: argparse.Namespace) -> Selection:
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.selectors import MedDEL
    from meddel_hf.selectors.registry import make, parse_option

    if args.selector == "meddel" and not args.option:
        meddel = MedDEL(retention=args.retention, eta=args.eta, **options.typed(args))
        return meddel.select(EmbeddingStore.load(args.embeddings, trust=args.trust))
    if args.retention is None:
        raise InvalidArgument(f"--eta goes with MedDEL: give --selector {args.selector} a --retention")
    for name, value in options.typed(args, of_meddel_alone=True).items():
        flag = "--" + name.replace("_", "-")
        raise InvalidArgument(f"{flag} is an option of MedDEL alone: use --option {name}={value}")
    given = dict(parse_option(text) for text in args.option)
    selector = make(args.selector, retention=args.retention, **{"seed": 0, **given, **options.typed(args)})
    pool = None
    if args.pool:
        from meddel_hf.data.pool import load_pool

        pool = load_pool(args.pool)
    return selector.select(EmbeddingStore.load(args.embeddings, trust=args.trust), pool=pool)


def _pictures(selection: Selection, folder: Path, spec: str | None, out: Path) -> list[str]:
    """Draw what there is to see into `folder`, which becomes `out`; returns a line for each picture."""
    from meddel_hf.data.pool import load_pool
    from meddel_hf.selection.pictures import draw_duplicates, draw_outliers, draw_retention

    drawn = []
    if selection.density is not None:
        draw_retention(selection, folder / "retention.png")
        drawn.append(f"wrote {out}/retention.png: how much stays over eta")
    spec = spec or selection.origin.spec
    if spec is None:
        print("no contact sheets: say where the frames are with --pool", file=sys.stderr)
        return drawn
    try:
        pool = load_pool(spec)
    except MedDELError as error:
        print(f"no contact sheets: {error}", file=sys.stderr)
        return drawn
    if draw_duplicates(selection, pool, folder / "duplicates.png"):
        drawn.append(f"wrote {out}/duplicates.png: the largest groups of near-duplicates, kept frame first")
    if draw_outliers(selection, pool, folder / "outliers.png"):
        drawn.append(f"wrote {out}/outliers.png: the farthest outliers")
    return drawn
