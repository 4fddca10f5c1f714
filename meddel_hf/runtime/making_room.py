"""A folder that another step or run of ours wrote makes room for a new one; it is gone once the new one is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from meddel_hf.errors import InvalidArgument, MedDELError
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.resume import BEGUN
from meddel_hf.runtime.written import GO_ON, STEPS, files_in, is_beside, is_written


@contextmanager
def room_at(folder: Path) -> Iterator[None]:
    """Of a block that writes to `folder`: what stands there waits beside it, and is removed at the end; it comes back
    where the block fails before it has begun to write.

    Raises InvalidArgument where the folder holds files that no step wrote.
    """
    target = Path(os.path.realpath(folder))
    _check_ours(target)
    waits = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    os.rename(target, waits)
    try:
        yield
    except BaseException:
        if not target.exists() or not any(target.iterdir()):
            shutil.rmtree(target, ignore_errors=True)
            os.rename(waits, target)
        else:
            shutil.rmtree(waits)
        raise
    shutil.rmtree(waits)


def _check_ours(folder: Path) -> None:
    is_ours = _written_in(folder)
    strange = next((name for name in files_in(folder) if name not in (MANIFEST, BEGUN) and not is_ours(name)), None)
    if strange is not None:
        raise InvalidArgument(
            f"{folder} also holds {strange}, which meddel did not write: take it away, or name another folder"
        )


def _written_in(folder: Path) -> Callable[[str], bool]:
    """Whether a step wrote the file of a name there."""
    if not (folder / MANIFEST).is_file():
        return lambda name: is_written(name, GO_ON)  # begun, and not finished
    try:
        manifest = Manifest.read(folder)
    except MedDELError:
        return lambda name: is_written(name, STEPS)  # damaged: it may be any
    if not manifest.files:
        return lambda name: is_written(name, [manifest.step])
    return lambda name: name in manifest.files or is_beside(name, [manifest.step])
