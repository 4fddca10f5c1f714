"""`meddel embed`: every frame of a pool becomes an embedding."""

from __future__ import annotations

import argparse

from meddel_hf.commands import kinds, options
from meddel_hf.commands.apart import tell_if_inside
from meddel_hf.embedding.embed import LARGEST_PASS
from meddel_hf.errors import InvalidArgument

HELP = "turn every frame of a pool into an embedding"
INTERRUPTED = "finished shards are kept, and the same command goes on from there"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.pool(parser)
    text = "transformers vision model: Hub id, folder, or carried, the package's own"
    add("--encoder", type=kinds.text, help=f"{text} (needed unless --from names a store)")
    text = "store of an earlier state of the pool: frames that it holds are taken from it, and only new ones embedded"
    add("--from", dest="grown_from", type=kinds.path, metavar="STORE", help=text)
    options.out(parser, "folder to write; an interrupted one is resumed")
    options.force(parser)
    text = "CLS token, mean over patches, or both from one pass (default: both; mean of an encoder without CLS)"
    add("--pooling", choices=("auto", "both", "cls", "mean"), default="auto", help=text)
    text = "embed no mild copies of frames; without them --eta auto does not know what a near-duplicate is"
    add("--no-calibrate", action="store_true", help=text)
    text = "auto: fill surround and scope guide with the mean colour of the rest, and draw view.png (default: whole)"
    add("--view", choices=("whole", "auto"), default="whole", help=text)
    options.precision(parser)
    text = "frames in one forward pass (default: 32)"
    add("--batch-size", type=kinds.count(1, LARGEST_PASS), default=32, metavar="N", help=text)
    text = "rows in one file of the store (default: 4096)"
    add("--shard-rows", type=kinds.count(1), default=4096, metavar="N", help=text)
    text = "of the numbers in the store; float16 halves it (default: float32)"
    add("--store-dtype", choices=("float32", "float16"), default="float32", help=text)
    options.include(parser)
    options.columns(parser)
    add("--streaming", action="store_true", help="read a data set row by row instead of preparing it first")
    options.num_workers(parser)
    options.device(parser)
    options.revision(parser)
    add("--trust-remote-code", action="store_true", help="run code that comes with the encoder")
    options.quiet(parser)


def run(args: argparse.Namespace) -> None:
    from meddel_hf.embedding.loading import check_at_hand

    if args.encoder is not None:
        check_at_hand(args.encoder, args.revision)  # before imports that take seconds
    from meddel_hf.data.pool import load_pool
    from meddel_hf.embedding.embed import NO_ENCODER, embed
    from meddel_hf.runtime.manifest import check_target
    from meddel_hf.runtime.processes import leave
    from meddel_hf.runtime.resume import BEGUN

    if args.encoder is None and args.grown_from is None:
        raise InvalidArgument(NO_ENCODER)
    check_target(args.out, "embeddings", begun=(BEGUN,))  # before the work
    tell_if_inside(args.out, args.pool)
    try:
        embed(
            load_pool(args.pool, include=args.include, streaming=args.streaming), args.encoder, args.out,
            grown_from=args.grown_from,
            pooling=args.pooling, calibrate=not args.no_calibrate, precision=args.precision,
            batch_size=args.batch_size, shard_rows=args.shard_rows,
            image_column=args.image_column, id_column=args.id_column, num_workers=args.num_workers, device=args.device,
            revision=args.revision, trust_remote_code=args.trust_remote_code, view=args.view,
            store_dtype=args.store_dtype, progress=not args.quiet, pool_spec=args.pool,
        )  # fmt: skip
    finally:
        leave()
