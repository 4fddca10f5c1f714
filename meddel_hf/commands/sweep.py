"""`meddel sweep`: how much stays over eta."""

from __future__ import annotations

import argparse

from meddel_hf.commands import kinds, options
from meddel_hf.commands.printing import print_json, say

HELP = "show how much stays at each of several etas (the paper's Table 2)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.embeddings(parser)
    over = parser.add_mutually_exclusive_group()
    over.add_argument("--eta", type=kinds.number(-1, 1), nargs="+", help="default: 0.7 0.75 0.8 0.85 0.9")
    over.add_argument("--retention", type=kinds.fraction, nargs="+", help="or shares to keep, such as 5%% 10%%")
    parser.add_argument("--csv", type=kinds.path, metavar="FILE", help="write the table as CSV too")
    options.as_json(parser)
    options.trust(parser)
    options.search_device(parser)
    options.meddel(parser)
    parser.add_argument("--selector", type=_meddel_alone, help=argparse.SUPPRESS)  # who knows it from select is told


def run(args: argparse.Namespace) -> None:
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.runtime.files import check_can_write, whole_file
    from meddel_hf.selectors import MedDEL

    if args.csv:
        check_can_write(args.csv)  # before the work
    store = EmbeddingStore.load(args.embeddings, trust=args.trust)
    rule = MedDEL(**options.typed(args))
    curve = rule.sweep(store, args.eta, retention=args.retention, device=args.device)
    notes = [note for selection in curve for note in selection.notes][:1]  # the lowest eta's says it best
    notes.insert(0, _whose(rule.scope))
    if args.json:
        print_json({"rows": curve.table.to_pylist(), "notes": notes})
    else:
        print(curve)
    for note in notes:
        say(f"note: {note}")
    if args.csv:
        from pyarrow import csv

        from meddel_hf.data.spreadsheets import text_columns_safe

        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(args.csv) as aside:
            csv.write_csv(text_columns_safe(curve.table), aside)


def _whose(scope: str) -> str:
    """Which rule the curve is of: not the one that `meddel select` follows unless told to."""
    compared = "all with all" if scope == "pool" else "inside clusters (--scope pool: all with all)"
    return (
        f"the curve is of MedDEL, the paper's Algorithm 1, which compared frames {compared}; `meddel select` keeps "
        "these frames with --selector meddel"
    )


def _meddel_alone(name: str) -> str:
    if name != "meddel":
        raise argparse.ArgumentTypeError(
            f"a sweep is of meddel alone, got {name!r}: for a curve of another, run `meddel select` with each --eta"
        )
    return name
