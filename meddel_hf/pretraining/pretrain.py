"""From frames to an encoder that was pre-trained on them, without labels; distributed with Accelerate, resumable.

    meddel pretrain POOL --out DIR --selection SELECTION --frames CACHE
    accelerate launch --multi_gpu --num_processes 2 -m meddel_hf.pretrain POOL --out DIR

Every run of a recipe sees the same number of samples, whatever the number of frames. What a sample shows, its crop and
its mask depend on its number and the seed alone: the same for one process or several, and after an interruption.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.runtime import checks
from meddel_hf.schema import ID, IMAGE

if TYPE_CHECKING:
    from datasets import Dataset

    from meddel_hf.pretraining.result import PreTraining
    from meddel_hf.selection.selection import Selection

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
    progress:  show a bar on stderr, and log a last line. pool_spec: what the data set was called on the command line.
    trust:     compare sizes of the selection's and the decoded frames' files, and not their checksums.

    Frames that cannot be decoded are left out, and listed with their reasons. Where Accelerate launched several
    processes, they share each batch, and all return the finished run.
    Raises InvalidArgument, InvalidDataset or Mismatch before anything is trained; Diverged where the loss is no longer
    a finite number.
    """
    from meddel_hf.data.pool import Pool
    from meddel_hf.data.scan import tell
    from meddel_hf.pretraining.run import Run
    from meddel_hf.pretraining.training_set import Choice
    from meddel_hf.runtime.processes import computing_device, decoding_workers, launched_processes

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
