"""What to label: every selector chooses a few frames, a head learns from those alone, tested on others; many splits.

    python benchmarks/choose_what_to_label.py EMBEDDINGS --labels datadel:gastrovision --out OUT
    python benchmarks/choose_what_to_label.py EMBEDDINGS --labels FOLDER --target folder --out OUT
    python benchmarks/choose_what_to_label.py EMBEDDINGS --labels datadel:kvasir_seg --masks --out OUT

Prints a markdown table: random's score (balanced accuracy of a ridge classifier on the embeddings, or with --masks the
mean IoU of a ridge head on the encoder's patch tokens), and each selector's difference from it over the same splits
with the corrected resampled 95 % interval, times 100. A run that was stopped goes on; arms and splits may be added.
Selectors that can subtract the pool's mean do so, unless --raw is given. --arm adds one, such as
--arm farther=k-centre or --arm mine=meddel,scope=pool,eta=none.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from datasets import Dataset

from meddel_hf.data.pool import load_pool, name_of
from meddel_hf.downstream.intervals import expected_by_chance
from meddel_hf.downstream.labels.arms import Chooser
from meddel_hf.downstream.labels.budgets import Budget
from meddel_hf.downstream.labels.compare import RANDOM_DRAWS, compare_choices
from meddel_hf.downstream.labels.outcomes import Outcomes, markdown
from meddel_hf.downstream.labels.sets import class_task, mask_task
from meddel_hf.downstream.labels.task import Frames, Task
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.selectors.registry import options_of, parse_option

ARMS = (
    "random=random", "stratified=random-stratified", "meddel cluster=meddel", "meddel pool=meddel,scope=pool",
    "k-centre=k-centre", "semdedup farthest=semdedup", "semdedup random=semdedup,keep=random", "density=density",
    "density random=density,keep=random", "prototypes easy=prototypes-easy", "prototypes hard=prototypes-hard",
)  # fmt: skip


def main() -> None:
    args = arguments()
    store, dataset = EmbeddingStore.load(args.embeddings), load_pool(args.labels)
    frames, task = of_masks(args, store, dataset) if args.masks else of_classes(args, store, dataset)
    arms = [*([] if args.only else ARMS), *args.arm]
    began = time.monotonic()
    outcomes = compare_choices(
        frames, task, [chooser(text, args.raw, args.draws).calibrated(store) for text in arms], args.out,
        budgets=args.budgets, splits=args.splits, say=None if args.quiet else lambda line: print(line, flush=True),
    )  # fmt: skip
    print(f"{args.labels}, {len(frames):,} frames, chosen by {store.manifest.arguments['pooling']} "
          f"{'as it is' if args.raw else 'minus the mean'}; {outcomes.splits} splits, "
          f"{time.monotonic() - began:.0f} s\n\n{markdown(outcomes)}\n\n{tally(outcomes)}")  # fmt: skip


def of_masks(args: argparse.Namespace, store: EmbeddingStore, dataset: Dataset) -> tuple[Frames, Task]:
    encoder = args.encoder or store.manifest.arguments["encoder"]
    tokens = args.tokens or args.out.with_name(f"{args.out.name}-tokens")
    return mask_task(store, dataset, encoder, tokens, name=name_of(args.labels))


def of_classes(args: argparse.Namespace, store: EmbeddingStore, dataset: Dataset) -> tuple[Frames, Task]:
    features = EmbeddingStore.load(args.features) if args.features else None
    return class_task(store, dataset, args.target, features=features, rarest=args.rarest)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("embeddings", type=Path, help="store of the labelled frames, by which they are chosen")
    add("--labels", required=True, help="labelled data set, or one with masks")
    add("--target", default="label", help="column of the classes, or 'folder'")
    add("--rarest", type=int, default=1, help="leave out classes of fewer frames")
    add("--features", type=Path, help="store that the classifier sees (default: EMBEDDINGS)")
    add("--masks", action="store_true", help="segment, with patch tokens of the encoder of EMBEDDINGS")
    add("--encoder", help="whose patch tokens the head sees, where it is another one")
    add("--tokens", type=Path, help="folder of the patch tokens (default: OUT-tokens)")
    add("--budgets", type=budget, nargs="+", default=[16, 32, 64, 128, 0.1], help="frames, or shares of the pool")
    add("--splits", type=int, default=20)
    add("--draws", type=int, default=3, help="seeds of each selector in a split; of random it is 10")
    add("--arm", action="append", default=[], metavar="LABEL=SELECTOR[,KEY=VALUE...]", help="one more selector")
    add("--only", action="store_true", help="the arms of --arm and random alone")
    add("--raw", action="store_true", help="do not subtract the pool's mean before choosing")
    add("--out", type=Path, required=True)
    add("--quiet", action="store_true")
    return parser.parse_args()


def budget(text: str) -> Budget:
    return int(text) if text.isdecimal() else float(text)


def chooser(text: str, raw: bool, draws: int) -> Chooser:
    """ "meddel pool=meddel,scope=pool" """
    label, _, rest = text.partition("=")
    selector, *options = rest.split(",")
    chosen = dict(map(parse_option, options))
    if not raw and "subtract_mean" in options_of(selector):
        chosen.setdefault("subtract_mean", True)
    if selector == "random":
        draws = RANDOM_DRAWS
    elif chosen.get("scope") == "pool" and chosen.get("keep") != "random":
        draws = 1  # whatever the seed, it chooses the same
    return Chooser(label, selector, chosen, draws)


def tally(outcomes: Outcomes) -> str:
    """How many differences are clear of zero, and how many would be if there were none."""
    lines = [line.versus_random for line in outcomes.lines() if line.versus_random is not None]
    above, below = (sum(line.low > 0 for line in lines), sum(line.high < 0 for line in lines))
    return (
        f"{above} of {len(lines)} differences clear of zero above random, {below} below; about "
        f"{expected_by_chance(len(lines)):.1f} would be if there were none anywhere."
    )


if __name__ == "__main__":
    main()
