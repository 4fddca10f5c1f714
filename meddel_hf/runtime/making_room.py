"""A folder that another step or run of ours wrote makes room for a new one; it is gone once the new one is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meddel_hf.errors import InvalidArgument, MedDELError
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest

# What steps write beside the files that their manifests record.
_BESIDE = (MANIFEST, "begun.json", "skipped.parquet", "view.png", "README.md")


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
    if not (folder / MANIFEST).is_file():
        return  # begun, and not finished: its records know which files are its own
    try:
        recorded = {name.partition("/")[0] for name in Manifest.read(folder).files}
    except MedDELError:
        return  # damaged: nothing tells
    strange = sorted(
        path.name
        for path in folder.iterdir()
        if recorded and path.name not in (*recorded, *_BESIDE) and not path.name.startswith(".")
    )
    if strange:
        raise InvalidArgument(
            f"{folder} also holds {strange[0]}, which meddel did not write: take it away, or name another folder"
        )
