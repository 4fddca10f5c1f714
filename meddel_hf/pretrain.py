"""From frames to an encoder that was pre-trained on them, without labels; distributed with Accelerate, resumable.

    meddel pretrain POOL --out DIR --selection SELECTION --frames CACHE
    accelerate launch --multi_gpu --num_processes 2 -m meddel_hf.pretrain POOL --out DIR

Every run of a recipe sees the same number of samples, whatever the number of frames. What a sample shows, its crop and
its mask depend on its number and the seed alone: the same for one process or several, and after an interruption.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.recipe import Recipe
from meddel_hf.runtime import checks, options
from meddel_hf.runtime.exits import command, exit_status
from meddel_hf.schema import ID, IMAGE, TRUST

if TYPE_CHECKING:
    from datasets import Dataset

    from meddel_hf.pretrained import PreTraining
    from meddel_hf.selection import Selection

__all__ = ["Recipe", "pretrain"]


def pretrain(
    dataset: Dataset,
    out: str | Path,
    *,
    recipe: Recipe = Recipe(),  # noqa: B008  # frozen
    selection: Selection | str | Path | None = None,
    exclude: Collection[str] = (),
    frames: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    num_workers: int | Literal["auto"] = "auto",
    image_column: str = IMAGE,
    id_column: str | None = ID,
    progress: bool = True,
    pool_spec: str | None = None,
    trust: bool = False,
) -> PreTraining:
    """Pre-train an encoder; called again after an interruption, it goes on from the last checkpoint to the same end.

    dataset:   the pool, with an image column, and ids in `id_column`; without that column, ids are row numbers.
    out:       folder of the encoder; empty, or begun earlier with the same pool, selection, recipe and seed.
    selection: which frames to train on, as an object or its folder; None: all. It must be of this very pool.
    exclude:   ids to leave out besides, such as frames that stand in a downstream test set too.
    frames:    folder to decode the whole pool into, once for all runs that name it; None: decode again and again.
    seed:      of the initial weights, the order of the frames, crops and masks. 0 or more.
    device:    "auto", "cpu" or "cuda". num_workers: processes that decode ahead of the model; "auto" goes by the
               processors that are free for it.
    progress:  show a bar and a last line on stderr. pool_spec: what the data set was called on the command line.
    trust:     compare sizes of the selection's and the decoded frames' files, and not their checksums.

    Frames that cannot be decoded are left out, and listed with their reasons. Where Accelerate launched several
    processes, they share each batch, and all return the finished run.
    Raises InvalidArgument, InvalidDataset or Mismatch before anything is trained; Diverged where the loss is no longer
    a finite number.
    """
    from meddel_hf.choice import Choice
    from meddel_hf.data.scan import tell
    from meddel_hf.pool import Pool
    from meddel_hf.pretrain_run import Run
    from meddel_hf.processes import computing_device, decoding_workers, launched_processes

    checks.seed(seed)
    pool = Pool.of(dataset, image_column=image_column, id_column=id_column)
    if progress:
        tell(dataset)
    if pool.ids is None:
        raise InvalidDataset("a stream cannot be read in random order: pass a datasets.Dataset (no streaming)")
    choice = Choice.of(pool, dataset, selection, exclude, trust=trust)
    processes = launched_processes(device)
    place = computing_device(device, processes)
    if place.index not in (None, processes.device.index, 0):
        raise InvalidArgument(f"device {device!r}: choose a GPU with CUDA_VISIBLE_DEVICES, and say cuda")
    parts = processes.num_processes * recipe.accumulation
    if recipe.batch_size % parts:
        raise InvalidArgument(
            f"batch_size {recipe.batch_size} does not divide into {parts} equal parts ({processes.num_processes} "
            f"processes, accumulation {recipe.accumulation}): choose a multiple of {parts}"
        )
    workers = decoding_workers(num_workers, processes)
    run = Run(Path(out), choice, recipe, seed, place, processes, workers, num_workers == "auto", progress, trust)
    return run.finished() or run.train(Path(frames) if frames is not None else None, pool_spec)


_HELP = {
    "objective": "default: mae", "preset": "ViT size (default: base)",
    "start": "Hub id or folder of a model to continue from", "image_size": "side in pixels (default: 224)",
    "patch_size": "side in pixels (default: 16)", "layers": "of the encoder (default: the preset's)",
    "samples": "views seen over the whole run (default: 17,656,400); 0 writes initial weights",
    "batch_size": "views in one step, over all processes (default: 16)",
    "accumulation": "parts of a batch that a process computes one by one", "learning_rate": "peak (default: 1.5e-4)",
    "warmup": "share of the run (default: 0.05)", "mask_ratio": "share of patches hidden (default: 0.75)",
    "crop": "smallest area of a crop (default: 0.2)", "precision": "auto: bf16 where it runs natively",
    "snapshots": "encoders written on the way (default: 0)",
    "checkpoint_samples": "what an interruption costs at most (default: 100,000)",
}  # fmt: skip


_TAKEN = {int: options.count(0, 10**15), float: options.number(0, 1000), str: options.text}  # `Recipe` knows more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `meddel pretrain` and `python -m meddel_hf.pretrain`."""
    add = parser.add_argument
    add(
        "pool",
        metavar="POOL",
        type=options.text,
        help="folder of images, data set folder or Hub id, with :config and @split if needed",
    )
    add("--out", required=True, type=options.path, help="folder to write; an interrupted one is resumed")
    add("--selection", type=options.path, help="folder of a selection of this pool")
    add("--exclude", type=options.path, metavar="FILE", help="file of ids to leave out, one a line")
    add("--keep-leaks", action="store_true", help="train on frames that a built data set lists as standing in another "
        "source too (default: they are left out)")  # fmt: skip
    add(
        "--frames",
        type=options.path,
        metavar="DIR",
        help="decode the pool into this folder once, for all runs that name it",
    )
    _add_recipe(parser)
    add("--seed", type=options.seed, default=0, metavar="N", help="initial weights, order, crops, masks (default: 0)")
    add("--include", metavar="PATTERN", help="of a folder of images, only paths that match, such as '*/images/*'")
    add("--image-column", default=IMAGE, metavar="NAME", help="default: image")
    add("--id-column", default=ID, metavar="NAME", help="default: id, or row numbers where there is none")
    add("--num-workers", type=options.workers, default="auto", metavar="N", help="decoding processes (default: auto)")
    add("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    add("--trust", action="store_true", help=TRUST)
    add("--quiet", action="store_true", help="no progress bar")


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    """An option for every field of the recipe."""
    group, kinds = parser.add_argument_group("recipe"), get_type_hints(Recipe)
    for field in fields(Recipe):
        name, kind = "--" + field.name.replace("_", "-"), kinds[field.name]
        default = field.default if field.default is not MISSING else None
        text = _HELP.get(field.name, f"default: {default}")
        words = [option for option in get_args(kind) if isinstance(option, str)]
        if kind is bool:
            group.add_argument(name, action=argparse.BooleanOptionalAction, default=default, help=text)
        elif words:
            group.add_argument(name, choices=words, default=default, help=text)
        else:
            number = next(one for one in (*get_args(kind), kind) if one in (int, float, str))
            taken = _TAKEN[number]
            group.add_argument(name, type=taken, default=default, metavar="X" if number is str else "N", help=text)


def run(args: argparse.Namespace) -> int:
    """Do what `add_arguments` asked for. Returns the exit status: 0, 2 after an error, 130 after Ctrl-C."""
    return exit_status(lambda: _run(args), interrupted="the same command goes on from the last checkpoint")


def _run(args: argparse.Namespace) -> None:
    from meddel_hf.files import check_can_write
    from meddel_hf.leaked import leaks
    from meddel_hf.pool import load_pool
    from meddel_hf.pretrain_run import BEGUN
    from meddel_hf.processes import leave
    from meddel_hf.runtime.reading import read_lines
    from meddel_hf.schema import check_target

    recipe = Recipe(**{field.name: getattr(args, field.name) for field in fields(Recipe)})
    check_target(args.out, "pretraining", begun=(BEGUN,))  # before the work
    if args.frames is not None:
        check_can_write(args.frames)
    try:
        exclude = read_lines(args.exclude, "a list of ids") if args.exclude else []
        if not args.keep_leaks:
            exclude += [id for id, _ in leaks(args.pool)]
        pretrain(
            load_pool(args.pool, include=args.include), args.out, recipe=recipe, selection=args.selection,
            exclude=exclude, frames=args.frames, seed=args.seed, device=args.device, num_workers=args.num_workers,
            image_column=args.image_column, id_column=args.id_column, progress=not args.quiet, pool_spec=args.pool,
            trust=args.trust,
        )  # fmt: skip
    finally:
        leave()


def main() -> int:
    """Entry of `python -m meddel_hf.pretrain`."""
    return command("meddel_hf.pretrain", "Pre-train an encoder on a pool of images.", add_arguments, run)


class _CallableModule(ModuleType):
    """`from meddel_hf import pretrain` finds this module instead of the function once it was imported: call it."""

    def __call__(self, *args: Any, **kwargs: Any) -> PreTraining:
        return pretrain(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    sys.exit(main())
