"""`meddel pretrain`: an encoder learns from a pool, or from what a selection keeps of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

from meddel_hf.commands import kinds, options
from meddel_hf.commands.apart import tell_if_inside
from meddel_hf.commands.printing import say
from meddel_hf.pretraining.budgets import Budget, recipe_for
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.runtime.shard import is_first

HELP = "pre-train an encoder on a pool, or on what a selection keeps of it"
INTERRUPTED = "the same command goes on from the last checkpoint"

_OF_THE_RECIPE = {
    "objective": "default: mae",
    "preset": "size of the ViT, or for simclr and dino a ResNet or ConvNeXt (default: base)",
    "start": "Hub id or folder of a model to continue from", "image_size": "side in pixels (default: 224)",
    "patch_size": "side in pixels (default: 16)", "layers": "of the encoder (default: the preset's)",
    "samples": "frames seen over the whole run (default: 17,656,400); 0 writes initial weights",
    "batch_size": "frames in one step, over all processes (default: 16)",
    "accumulation": "parts of a batch that a process computes one by one", "learning_rate": "peak (default: 1.5e-4)",
    "warmup": "share of the run (default: 0.05)", "mask_ratio": "share of patches hidden (default: 0.75)",
    "target": "MAE's: normalised over a patch, or in each colour of it (default: patch)",
    "crop": "smallest area of a crop (default: 0.2)", "jitter": "strength of the change of colours (default: 0.5)",
    "grey": "chance that a view is grey (default: 0.2)", "blur": "chance that a view is blurred (default: 0.5)",
    "temperature": "of SimCLR's loss or DINO's student (default: 0.1)", "projection": "SimCLR's width (default: 128)",
    "prototypes": "of DINO (default: 65,536)", "momentum": "of DINO's teacher (default: 0.996)",
    "local_crops": "small views of a frame for DINO (default: 8)", "local_size": "their side in pixels (default: 96)",
    "local_crop": "their smallest area (default: 0.05)", "masked_loss": "weight of iBOT's loss (default: 0)",
    "clip": "greatest norm of the gradients; 0: not clipped (default: 0)",
    "precision": "auto: bf16 where it runs natively",
    "snapshots": "encoders written on the way (default: 0)",
    "checkpoint_samples": "what an interruption costs at most (default: 100,000)",
}  # fmt: skip
_TAKEN = {int: kinds.count(0, 10**15), float: kinds.number(0, 1000), str: kinds.text}  # `Recipe` knows more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.pool(parser)
    options.out(parser, "folder to write; an interrupted one is resumed")
    options.force(parser)
    add("--selection", type=kinds.path, help="folder of a selection of this pool")
    add("--exclude", type=kinds.path, metavar="FILE", help="file of ids to leave out, one a line")
    text = "train on frames that a built data set lists as standing in another source too (default: they are left out)"
    add("--keep-leaks", action="store_true", help=text)
    text = "decode the pool into this folder once, for all runs that name it"
    add("--frames", type=kinds.path, metavar="DIR", help=text)
    _add_recipe(parser)
    options.seed(parser, "initial weights, order, crops, masks (default: 0)", "N")
    options.include(parser)
    options.columns(parser)
    options.num_workers(parser)
    options.device(parser)
    options.trust(parser)
    options.quiet(parser)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    """An option for every field of the recipe; None where it is not given."""
    group, types = parser.add_argument_group("recipe"), get_type_hints(Recipe)
    text = "begin from the objective's recipe for this budget (default: the paper's; of simclr and dino, gpu-day's)"
    group.add_argument("--budget", choices=get_args(Budget), help=text)
    for field in fields(Recipe):
        name, kind = "--" + field.name.replace("_", "-"), types[field.name]
        default = field.default if field.default is not MISSING else None
        text = _OF_THE_RECIPE.get(field.name, f"default: {default}")
        words = [option for option in get_args(kind) if isinstance(option, str)]
        if kind is bool:
            group.add_argument(name, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif words:
            group.add_argument(name, choices=words, help=text)
        else:
            number = next(one for one in (*get_args(kind), kind) if one in (int, float, str))
            metavar = "X" if number is str else "N"
            group.add_argument(name, type=_TAKEN[number], metavar=metavar, help=text)


def run(args: argparse.Namespace) -> None:
    from meddel_hf.data.leaks import leaks
    from meddel_hf.data.pool import load_pool
    from meddel_hf.pretraining.pretrain import pretrain
    from meddel_hf.runtime.files import check_can_write
    from meddel_hf.runtime.manifest import check_target
    from meddel_hf.runtime.processes import leave
    from meddel_hf.runtime.reading import read_lines
    from meddel_hf.runtime.resume import BEGUN

    given = {field.name: value for field in fields(Recipe) if (value := getattr(args, field.name)) is not None}
    recipe = recipe_for(given.pop("objective", "mae"), args.budget, **given)
    check_target(args.out, "pretraining", begun=(BEGUN,))  # before the work
    tell_if_inside(args.out, args.pool)
    if args.frames is not None:
        check_can_write(args.frames)
    try:
        exclude = read_lines(args.exclude, "a list of ids") if args.exclude else []
        pool = load_pool(args.pool, include=args.include)
        if exclude and is_first():
            for note in _of_excluded(pool, set(exclude), args.image_column, args.id_column):
                say(note)
        if not args.keep_leaks:
            exclude += [id for id, _ in leaks(args.pool)]
        pretrain(
            pool, args.out, recipe=recipe, selection=args.selection,
            exclude=exclude, frames=args.frames, seed=args.seed, device=args.device, num_workers=args.num_workers,
            image_column=args.image_column, id_column=args.id_column, progress=not args.quiet, pool_spec=args.pool,
            trust=args.trust,
        )  # fmt: skip
    finally:
        leave()


def _of_excluded(pool: Any, listed: set[str], image_column: str, id_column: str | None) -> Iterator[str]:
    """What to say of ids that are to be left out: none is in the pool, or some are not; others of a video or patient
    stay."""
    from meddel_hf.data.groups import groups_of
    from meddel_hf.data.ids import as_there, folders_among, is_a_folder, leaves_nothing_out
    from meddel_hf.data.pool import Pool
    from meddel_hf.runtime.reading import some_of
    from meddel_hf.runtime.words import plural

    rows = list(
        zip(Pool.of(pool, image_column=image_column, id_column=id_column).ids or [], groups_of(pool), strict=True)
    )
    there = {id for id, _ in rows}
    excluded = set(as_there(sorted(listed), there))
    if rows and not excluded & there:
        yield f"warning: --exclude {leaves_nothing_out(len(listed), min(listed), rows[0][0])}"
    for name, below in folders_among(sorted(excluded - there), there).items():
        yield f"note: --exclude: {is_a_folder(name, below)}, which stay: list their ids"
    if not excluded & there:
        return
    if unknown := sorted(excluded - there):
        count = plural(len(unknown), "id that is", "ids that are")
        yield f"note: --exclude lists {count} not in the pool: {some_of(unknown)}"
    gone = {group for id, group in rows if id in excluded and group is not None}
    left = [group for id, group in rows if id not in excluded and group in gone]
    if left:
        names = sorted(set(filter(None, left)))
        what = plural(len(names), "video, sequence or patient", "videos, sequences or patients")
        yield (
            f"warning: {plural(len(left), 'frame')} of {what} ({some_of(names)}) of which --exclude leaves out others "
            "can be trained on: exclude them too where those others are tested"
        )
