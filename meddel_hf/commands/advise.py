"""`meddel advise`: can choosing pay on this pool? In minutes, without training."""

from __future__ import annotations

import argparse

from meddel_hf.commands import kinds, options
from meddel_hf.commands.printing import print_json, say
from meddel_hf.runtime.free_memory import AUTO

HELP = "tell in minutes, without training, whether choosing can pay on a pool"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.embeddings(parser)
    text = "the share that you have in mind; in (0, 1] (default: 0.05)"
    parser.add_argument("--retention", type=kinds.fraction, default=0.05, help=text)
    options.pool(parser, "--pool", "where the frames are now, for counts of centres (default: where they were)")
    text = "embeddings of a task's own frames, by the same encoder: how far do they lie from the pool?"
    parser.add_argument("--task", metavar="DIR", type=kinds.path, help=text)
    text = "compare all frames with all, or inside k-means clusters (default: auto, pool up to 200,000 frames)"
    parser.add_argument("--scope", choices=("auto", "pool", "cluster"), default="auto", help=text)
    text = "such as 4GB: read a larger pool in parts, with a scratch file as large as the store (in TMPDIR)"
    parser.add_argument("--memory", type=kinds.memory, default=AUTO, help=f"{text}; {options.MEMORY}")
    options.as_json(parser)
    options.trust(parser)


def run(args: argparse.Namespace) -> None:
    from meddel_hf.commands.frames import frames_of
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.selectors.advice import RETENTIONS, advise

    store = EmbeddingStore.load(args.embeddings, trust=args.trust)
    retentions = sorted({*RETENTIONS, args.retention})
    pool, why_not = frames_of(store, args.pool)
    if why_not:
        say(f"note: no counts of centres: {why_not}")
    advice = advise(store, pool=pool, task=args.task, retentions=retentions, scope=args.scope, memory=args.memory)
    if args.json:
        print_json(advice.facts(args.retention))
        return
    print(advice)
    print(f"\n{advice.verdict(args.retention)}")
