"""What is written and what is read, apart: an output among the files that are read is read again by the next run."""

from __future__ import annotations

import os
from pathlib import Path

from meddel_hf.commands.printing import say
from meddel_hf.runtime.shard import is_first


def tell_if_inside(out: Path | None, *read: str | Path | None) -> None:
    """Warn where the folder to write lies in one that is read. read: POOLs, as they are typed; Hub ids are none."""
    from meddel_hf.data.spec import parse_spec

    for spec in read:
        if out is None or spec is None or not is_first():
            continue
        folder = Path(parse_spec(str(spec))[0])
        here, there = Path(os.path.realpath(out)), Path(os.path.realpath(folder))
        if folder.is_dir() and here != there and here.is_relative_to(there):
            say(
                f"warning: {out} lies in {folder}, whose files are read, so that later runs find among them what is "
                "written here: name a folder outside of it"
            )
