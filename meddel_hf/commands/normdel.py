"""`meddel normdel`: the metric of given scores and retentions."""

from __future__ import annotations

import argparse

from meddel_hf.commands import kinds, options
from meddel_hf.commands.printing import print_json
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.text_table import aligned

HELP = "weigh a downstream score against the share of data kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("performance", type=kinds.number(-1e9, 1e9), nargs="+", help="score as a fraction in [0, 1], such as mIoU")
    text = "share of the data kept, in (0, 1]; one, or one a score"
    add("--retention", type=kinds.fraction, nargs="+", required=True, help=text)
    add("--alpha", type=kinds.number(0, 1e6), default=1.0, help="weight of retention, above 0 (default: 1)")
    options.as_json(parser)


def run(args: argparse.Namespace) -> None:
    from normdel import del_index, normdel

    scores, shares = args.performance, args.retention
    if len(shares) == 1:
        shares = shares * len(scores)
    if len(shares) != len(scores):
        raise InvalidArgument(f"{len(scores)} scores and {len(shares)} retentions: give one retention, or one a score")
    try:
        rows = [
            (m, r, del_index(m, r, args.alpha), normdel(m, r, args.alpha)) for m, r in zip(scores, shares, strict=True)
        ]
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    if args.json:
        print_json([dict(zip(("performance", "retention", "del", "normdel"), row, strict=True)) for row in rows])
        return
    heads = ("performance", "retention", "DEL", "NormDEL")
    print(aligned([heads, *([f"{value:.4f}" for value in row] for row in rows)], words=0))
