"""What new frames cost, and how far the extended selection is from one that is made from scratch.

    python benchmarks/bench_growth.py FRAMES --frames 2000                      # a random ViT-Base at 224 px
    python benchmarks/bench_growth.py FRAMES --encoder carried --group '([^/]*)/'

FRAMES is a pool. In one run, on one machine, with the same encoder:
  cost       the grown pool embedded and selected from scratch, and from the earlier store and selection; the ratio of
             the two times, for 1 % and 10 % new frames, drawn at random (so that they are spread over all shards) and
             as the last of the pool (as where a folder is added). The two stores must be the same bytes.
  agreement  rows that one of the two selections keeps and the other does not, as a share of the pool: at the eta that
             each finds, and at the old one in both; and what the one from scratch drops of what was kept before. For
             1 %, 10 % and, with --group, each group of ids, left out and added again. --group is a pattern whose first
             parenthesis is a group's name in an id.
Times are of calls in one process: the start of Python and the load of the encoder are in both.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from meddel_hf import Dedup, EmbeddingStore, MedDEL, Selection, embed, extend, load_pool
from meddel_hf.embedding.removing import without

SHARES = (0.01, 0.1)


def make_encoder(folder: Path) -> str:
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    ViTModel(ViTConfig()).save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)
    return str(folder)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cost(pool, encoder: str, scratch: Path) -> EmbeddingStore:
    """Print what growth costs; returns the store of the whole pool."""
    n, rng = len(pool), np.random.default_rng(0)
    whole = scratch / "whole"
    seconds = {"embed": timed(lambda: embed(pool, encoder, whole, progress=False))}
    seconds["select"] = timed(lambda: Dedup().select(str(whole)).save(scratch / "selection"))
    total = sum(seconds.values())
    print(f"from scratch: {n:,} frames, embed {seconds['embed']:.1f} s, select {seconds['select']:.2f} s")
    for share in SHARES:
        count = round(share * n)
        for where, new in (("spread", rng.permutation(n)[:count]), ("at the end", np.arange(n - count, n))):
            name = f"{share}-{where}"
            ids = {pool["id"][int(row)] for row in new}
            old = without(EmbeddingStore.load(whole), ids, scratch / f"{name}-old")
            Dedup().select(old).save(scratch / f"{name}-old-selection")
            grown, before = scratch / f"{name}-grown", scratch / f"{name}-old-selection"
            embedding = timed(lambda: embed(pool, None, grown, grown_from=old, progress=False))  # noqa: B023
            selecting = timed(lambda: extend(before, str(grown)).save(scratch / f"{name}-selection"))  # noqa: B023
            files = [path.name for path in whole.iterdir() if path.name not in ("manifest.json", "copies.safetensors")]
            same = filecmp.cmpfiles(whole, grown, files, shallow=False)[0] == files
            print(
                f"{share:.0%} new, {where}: embed {embedding:.2f} s, select {selecting:.2f} s: "
                f"{(embedding + selecting) / total:.2%} of from scratch; {'the same bytes' if same else 'OTHER BYTES'}"
            )
    return EmbeddingStore.load(whole)


def agreement(store: EmbeddingStore, group: str | None, scratch: Path) -> None:
    ids, rng = store.pool_ids, np.random.default_rng(1)
    splits = [(f"{share:.0%} at random", set(rng.permutation(ids)[: round(share * len(ids))])) for share in SHARES]
    if group is not None:
        names = [match[1] if (match := re.search(group, id)) else "" for id in ids]
        splits += [(f"group {name}", {i for i, n in zip(ids, names, strict=True) if n == name}) for name in set(names)]
    for number, (name, new) in enumerate(sorted(splits)):
        old = without(store, new, scratch / f"split-{number}")
        for called, selector in (
            ("Dedup()", Dedup()),
            ("Dedup(0.1)", Dedup(0.1)),
            ("MedDEL(0.3)", MedDEL(retention=0.3, epsilon=None)),
            ("MedDEL(0.3, pool)", MedDEL(retention=0.3, epsilon=None, scope="pool")),
        ):
            before = selector.select(old)
            extended = extend(before, store)
            scratch_one = selector.select(store)
            print(f"{name} ({len(new):,} of {len(ids):,}), {called}: {_apart(extended, scratch_one)}", end="")
            kept, again = set(before.kept), set(scratch_one.kept) - new
            print(f"; of what was kept before, from scratch drops {1 - len(kept & again) / len(kept):.1%}", end="")
            at = Dedup(eta=before.eta) if called == "Dedup()" else None
            print("" if at is None else f"; at the old eta {_apart(extended, at.select(store))}")


def _apart(extended: Selection, scratch: Selection) -> str:
    one, other = (each.table["kept"].to_numpy() for each in (extended, scratch))
    return (
        f"{one.sum():,} kept, from scratch {other.sum():,}; by one alone {(one != other).mean():.2%} of the pool "
        f"({(one & ~other).sum():,} and {(other & ~one).sum():,})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool")
    parser.add_argument("--include")
    parser.add_argument("--frames", type=int, help="that many, evenly spaced (default: all)")
    parser.add_argument("--encoder", help="default: a random ViT-Base at 224 px")
    parser.add_argument("--group", help="pattern of a group's name in an id")
    parser.add_argument("--only", choices=("cost", "agreement"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        pool = load_pool(args.pool, include=args.include)
        if args.frames is not None and args.frames < len(pool):
            pool = pool.select(np.linspace(0, len(pool) - 1, args.frames).astype(int))
        encoder = args.encoder or make_encoder(Path(scratch) / "encoder")
        if args.only == "agreement":
            store = embed(pool, encoder, Path(scratch) / "whole", progress=False)
        else:
            store = cost(pool, encoder, Path(scratch))
        if args.only != "cost":
            agreement(store, args.group, Path(scratch))


if __name__ == "__main__":
    main()
