"""`meddel advise`: can choosing pay on this pool? In minutes, without training."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from meddel_hf.commands import kinds, options

if TYPE_CHECKING:
    from meddel_hf.selectors.advice import Advice

HELP = "tell in minutes, without training, whether choosing can pay on a pool"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.embeddings(parser)
    text = "the share that you have in mind; in (0, 1] (default: 0.05)"
    parser.add_argument("--retention", type=kinds.fraction, default=0.05, help=text)
    options.pool(parser, "--pool", "where the frames are now, for counts of centres (default: where they were)")
    text = "embeddings of a task's own frames, by the same encoder: how far do they lie from the pool?"
    parser.add_argument("--task", metavar="DIR", type=kinds.path, help=text)
    options.trust(parser)


def run(args: argparse.Namespace) -> None:
    from meddel_hf.commands.frames import frames_of
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.selectors.advice import RETENTIONS, advise

    store = EmbeddingStore.load(args.embeddings, trust=args.trust)
    retentions = sorted({*RETENTIONS, args.retention})
    pool, why_not = frames_of(store, args.pool)
    if why_not:
        print(f"note: no counts of centres: {why_not}", file=sys.stderr)
    advice = advise(store, pool=pool, task=args.task, retentions=retentions)
    print("\n".join(_figures(advice)))
    print(f"\n{advice.verdict(args.retention)}")


def _figures(advice: Advice) -> list[str]:
    from meddel_hf.runtime.reading import printable
    from meddel_hf.selectors.advice import percent

    alike = "" if advice.alike is None else f"; {advice.alike:.0%} of them look alike in their pixels"
    lines = [
        f"{'frames':<16}{advice.rows:>12,}",
        f"{'near-duplicates':<16}{advice.copies:>12.2%}  {advice.threshold}{alike}",
        f"{'scenes':<16}{advice.count:>12,}  the largest of {advice.largest:,} frames; {advice.half:,} hold half",
        f"{'diversity':<16}{advice.diversity:>12.1f}  effective number of frames (Vendi), of {advice.dim} at most",
    ]
    if advice.reach is not None:
        lines.append(
            f"{'reach':<16}{advice.reach.task:>12.4f}  median cosine of the task's {advice.reach.n:,} frames to their "
            f"nearest in the pool; of the pool's own {advice.reach.pool:.4f}"
        )
    for kept in advice.groups:
        (most, frames, _), (least, fewest, _) = kept.rows[0], kept.rows[-1]
        span = f"from {printable(least)} with {fewest:,} frames to {printable(most)} with {frames:,}"
        lines.append(f"{kept.column + 's':<16}{len(kept.rows):>12,}  {span}")
    lines += ["", f"{'retention':<16}{'frames':>12}{'scenes if random':>18}{'scenes if dropped':>21}{'gain':>8}"]
    lines += [
        f"{percent(one.retention):<16}{one.rows:>12,}{one.at_random:>18,.0f}{one.deduplicated:>21,.0f}{one.gain:>7.1f}x"
        for one in advice.scenes
    ]
    return lines
