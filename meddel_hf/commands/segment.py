"""`meddel segment`: a segmentation model is trained on an encoder, and scored frame by frame."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from itertools import count
from typing import TYPE_CHECKING, Any

from meddel_hf.commands import kinds, options
from meddel_hf.commands.apart import tell_if_inside
from meddel_hf.commands.printing import print_json, say
from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.checks import LARGEST_BATCH, LARGEST_SIDE
from meddel_hf.runtime.shard import is_first

if TYPE_CHECKING:
    from datasets import Dataset

    from meddel_hf.runtime.manifest import Manifest

HELP = "train a segmentation model on an encoder, test it"
INTERRUPTED = "the same command goes on at the last checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from meddel_hf.downstream.splits import TEST_SHARE

    standard = SegmentationRecipe  # its defaults stand on the class; to make one would import pydantic
    add = parser.add_argument
    text = "frames with masks: data set folder or Hub id, with :config and @split if needed"
    add("data", metavar="DATA", type=kinds.text, help=text)
    text = "ViT, MAE, ResNet or ConvNeXt of transformers: Hub id, folder, or carried, the package's own"
    add("--encoder", required=True, type=kinds.text, help=text)
    options.out(parser, "folder to write; an interrupted one goes on")
    options.force(parser)
    add("--test", nargs="+", default=[], metavar="DATA", type=kinds.text, help="further test sets")
    add("--frozen", action="store_true", help="train the head alone: seconds instead of minutes")
    options.split(parser, "auto: official where there is one")
    text = f"share of DATA to test on where no official split says (default: {TEST_SHARE}); 0: none"
    add("--test-share", type=kinds.number(0, 1), default=TEST_SHARE, metavar="X", help=text)
    add("--masked-only", action="store_true", help="leave out rows that have no mask")
    options.seed(parser, "of split, head, order and augmentation (default: 0)")
    text = "classes with background (default: 2)"
    add("--num-labels", type=kinds.count(2, 255), default=standard.num_labels, metavar="N", help=text)
    text = "default: what the encoder's image processor says"
    add("--image-size", type=kinds.count(1, LARGEST_SIDE), metavar="PIXELS", help=text)
    add("--epochs", type=kinds.count(1), default=standard.epochs, metavar="N", help=f"default: {standard.epochs}")
    text = f"frames in a step, over all processes (default: {standard.batch_size})"
    add("--batch-size", type=kinds.count(1, LARGEST_BATCH), default=standard.batch_size, metavar="N", help=text)
    add("--learning-rate", type=kinds.number(0, 10), metavar="X", help="default: 1e-3 with --frozen, else 3e-4")
    text = f"default: {standard.weight_decay}"
    add("--weight-decay", type=kinds.number(0, 10), default=standard.weight_decay, metavar="X", help=text)
    text = f"weight of the Dice loss beside the cross entropy (default: {standard.dice_weight:g})"
    add("--dice-weight", type=kinds.number(0, 1e6), default=standard.dice_weight, metavar="X", help=text)
    options.as_json(parser)
    options.precision(parser)
    options.device(parser)
    options.revision(parser)
    options.quiet(parser)


def run(args: argparse.Namespace) -> None:
    from meddel_hf.embedding.loading import check_at_hand

    check_at_hand(args.encoder, args.revision)  # before imports that take seconds
    from meddel_hf.downstream.segmentation.scoring import facts, table
    from meddel_hf.downstream.segmentation.segment import CHECKPOINTS, segment
    from meddel_hf.runtime.manifest import Manifest, check_target
    from meddel_hf.runtime.processes import leave

    names = {field.name for field in fields(SegmentationRecipe)}
    recipe = SegmentationRecipe(**{name: value for name, value in vars(args).items() if name in names})
    check_target(args.out, "segmentation", begun=(CHECKPOINTS,))  # before the work
    tell_if_inside(args.out, args.data, *args.test)
    try:
        train, test = _data(args)
        scores = segment(
            train, test, args.encoder, args.out, recipe=recipe, seed=args.seed, device=args.device,
            revision=args.revision, progress=not args.quiet,
        )  # fmt: skip
        if is_first():
            if args.json:
                print_json(facts(scores))
            else:
                print(table(scores))
            print(_empty_masks(Manifest.read(args.out, "segmentation")), end="", file=sys.stderr)
    finally:
        leave()


def _data(args: argparse.Namespace) -> tuple[Dataset, dict[str, Dataset]]:
    """The training set, and the test sets by name: what is held out of it, and further ones.

    A second set of one short name is "frames-2": names go to the Hub, and a path would tell what folders are called.
    """
    from meddel_hf.data.pool import load_pool, name_of
    from meddel_hf.downstream.segmentation.masked_frames import with_masks
    from meddel_hf.downstream.splits import OFFICIAL, split

    def load(spec: str) -> Any:
        dataset: Any = load_pool(spec)
        return with_masks(dataset) if args.masked_only else dataset

    train, test = load(args.data), {}
    if args.test_share or args.split == "official":
        parts = split(train, test_share=args.test_share, official=OFFICIAL[args.split], seed=args.seed)
        train, test[name_of(args.data)] = parts.of(train)
    spec_of = dict.fromkeys(test, args.data)
    for spec in args.test:
        if args.test.count(spec) > 1:
            raise InvalidArgument(f"--test names {spec} twice")
        name = name_of(spec)
        if name in test:
            name = next(other for number in count(2) if (other := f"{name_of(spec)}-{number}") not in test)
            if is_first():
                say(f"note: the test set {name} is {spec}; {name_of(spec)} is {spec_of[name_of(spec)]}")
        test[name], spec_of[name] = load(spec), spec
    return train, test


def _empty_masks(manifest: Manifest) -> str:
    """A line where masks hold no object, so that nobody takes them for masks that were read wrong; else nothing."""
    empty = manifest.details.get("empty_masks", {})  # absent from runs of earlier versions
    counts = ", ".join(f"{count:,} of {name}" for name, count in empty.items() if count)
    return f"masks without any object: {counts}\n" if counts else ""
