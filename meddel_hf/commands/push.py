"""`meddel push`: a selection, a subset, a built data set, a model or the metric goes to the Hub."""

from __future__ import annotations

import argparse

from meddel_hf.commands import kinds, options

HELP = "publish a selection, a subset, a model, a report or the metric on the Hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "folder that select, filter, build, report, pretrain or segment wrote, or 'normdel' for the metric's Space"
    add("path", metavar="PATH", help=text)
    add("repo", metavar="USER/NAME", help="repository to create or update")
    add("--private", action="store_true", default=None, help="create it private")
    options.strip_metadata(parser)
    add(
        "--yes-with-metadata",
        action="store_true",
        help="publish names and positions that stand in images, and columns about patients, as they are",
    )
    add("--license", metavar="ID", help="of a model or report: licence to name in its card, such as apache-2.0")
    add("--hash-ids", metavar="KEYFILE", type=kinds.path, help="of a selection: hash its ids with this key")


def run(args: argparse.Namespace) -> None:
    if args.path == "normdel":
        from meddel_hf.hub.metric import push_metric

        print(push_metric(args.repo))
        return
    from meddel_hf.hub.push import push

    print(
        push(
            args.path,
            args.repo,
            private=args.private,
            strip_metadata=args.strip_metadata,
            hash_ids=args.hash_ids,
            license=args.license,
            yes_with_metadata=args.yes_with_metadata,
        )
    )
