"""Checkpoints of a run: each is whole, since it takes its name once it is written; what a full disk makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.trainer_utils import get_last_checkpoint

from meddel_hf.errors import IncompleteStore, Mismatch
from meddel_hf.runtime.disk import disk_error
from meddel_hf.runtime.files import files_below, sweep
from meddel_hf.runtime.records import check_files, read_facts, recorded_files, write_facts

_RECORD = "record.json"


class WholeModel(PreTrainedModel):
    """Base of the models of this package: what is saved of them holds the names that weights have in memory.

    transformers writes a ViT under its names of 2021, and its Trainer, which reads a checkpoint by the names in memory,
    would leave the encoder as it was before the interruption, without an error.
    """

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:  # type: ignore[override]
        options.setdefault("save_original_format", False)
        super().save_pretrained(save_directory, **options)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a folder, if there is one."""
    newest = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return Path(newest) if newest is not None else None


def last_recorded(folder: Path) -> Path | None:
    """The newest checkpoint that was recorded, and so is whole whatever a killed run was writing; None of no such."""
    return max((path.parent for path in folder.glob(f"checkpoint-*/{_RECORD}")), key=step_of, default=None)


def checkpoint_at(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step}"  # the name that `get_last_checkpoint` looks for


def step_of(checkpoint: Path | None) -> int:
    """Steps that a checkpoint holds; 0 of none."""
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint is not None else 0


def record(checkpoint: Path, made_from: str) -> None:
    """Write down what a checkpoint holds, once all of it is there, and of which run it is."""
    sweep(checkpoint)  # of a record that a killed run was just writing
    files = recorded_files(checkpoint, files_below(checkpoint))
    write_facts(checkpoint / _RECORD, {"made_from": made_from, "files": files})


def check(checkpoint: Path, made_from: str) -> None:
    """Compare a checkpoint with its record, before a training goes on from it; an older one has none.

    Raises IncompleteStore where it is damaged, Mismatch where it is of another run.
    """
    if not (checkpoint / _RECORD).is_file():
        return
    cure = f"delete {checkpoint}, and the same command goes on without it"
    facts = read_facts(checkpoint / _RECORD, cure)
    if facts["made_from"] != made_from:
        raise Mismatch(f"{checkpoint} is of another run ({facts['made_from']}, expected {made_from}): {cure}")
    check_files(checkpoint, facts["files"], cure)


@contextmanager
def written(what: str, folder: Path, checkpoints: Path | None = None) -> Iterator[None]:
    """Say in one sentence what a full disk makes of torch, safetensors and files; other errors stay what they are.

    checkpoints: folder whose newest checkpoint is left, for the sentence. Raises IncompleteStore.
    """
    try:
        yield
    except Exception as error:
        reason = disk_error(error)
        if reason is None:
            raise
        last = last_checkpoint(checkpoints) if checkpoints is not None else None
        kept = f"; the checkpoint of step {step_of(last):,} is whole" if last else ""
        raise IncompleteStore(
            f"{what} could not be written to {folder}: {reason}{kept}: make room, and run again"
        ) from error
