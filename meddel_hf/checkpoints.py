"""Checkpoints of a run: each is whole, since it takes its name once it is written; what a full disk makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

from meddel_hf.errors import IncompleteStore
from meddel_hf.runtime.disk import disk_error


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a folder, if there is one."""
    found = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return Path(found) if found is not None else None


def checkpoint_at(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step}"  # the name that `get_last_checkpoint` looks for


def step_of(checkpoint: Path | None) -> int:
    """Steps that a checkpoint holds; 0 of none."""
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint is not None else 0


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
