"""Where a build's shards lie: in `.build` while they are written; then under names with their source's fingerprint.

    README.md manifest.json rejected.parquet leaks.parquet
    data/<source>/<centre>/train-<unit>-<part>-<8 hex digits>.parquet     class_masks/<source>/<centre>-*.parquet

`datasets` keeps what it has opened under a folder's name and its card: the digits, which stand in the card's patterns
too, are what tells it one build from another. They are of the source's rows: one that is added renames no other.
The card goes before the shards do, and comes after them: no card names files that are not there, or not its own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from meddel_hf.data.leaks import FILE as LEAKS
from meddel_hf.datadel import preview
from meddel_hf.runtime.files import MANIFEST

STATE = ".build"  # records of finished units, so that a build goes on where it stopped; never published
REJECTED = "rejected.parquet"
DATA, CLASS_MASKS = KINDS = ("data", "class_masks")
_FACTS = ("README.md", MANIFEST, REJECTED, LEAKS)
_DIGITS = 8
_NAMED = re.compile(rf"-[0-9a-f]{{{_DIGITS}}}(?=\.parquet$)")


def folder_of(out: Path, kind: str) -> Path:
    """Where the shards of a kind are now."""
    here = out / STATE / kind
    return here if here.is_dir() or not (out / kind).is_dir() else out / kind


def placed(out: Path, path: str) -> Path:
    """Where a shard is now. path: its kind, and its path below the folder of that kind, without digits."""
    kind, _, rest = path.partition("/")
    plain = folder_of(out, kind) / rest
    if kind == DATA and not plain.is_file():
        named = [p for p in plain.parent.glob(f"{plain.stem}-*.parquet") if _NAMED.sub("", p.name) == plain.name]
        return named[0] if len(named) == 1 else plain
    return plain


def named(path: str, identity: str) -> str:
    """Path of a shard, or a pattern of some, in a finished build, relative to its folder. identity: of its source."""
    if not path.startswith(f"{DATA}/"):
        return path
    return f"{path.removesuffix('.parquet')}-{identity[:_DIGITS]}.parquet"


def is_open(out: Path) -> bool:
    """Whether a build was begun here and not finished."""
    return not (out / MANIFEST).is_file() or any((out / STATE / kind).is_dir() for kind in KINDS)


def open_again(out: Path) -> None:
    """Make a finished build one that is being written: it is no data set until `finish` and its card."""
    for name in _FACTS:
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / preview.FOLDER, ignore_errors=True)
    for kind in KINDS:
        if (out / kind).is_dir():
            if (out / STATE / kind).is_dir():
                shutil.rmtree(out / kind)  # nothing of ours: one of them is renamed to the other
            else:
                (out / kind).rename(out / STATE / kind)
    for path in (out / STATE / DATA).rglob("*.parquet"):
        path.rename(path.with_name(_NAMED.sub("", path.name)))


def finish(out: Path, names: Mapping[str, str]) -> None:
    """Show the shards under their names in a finished build, by their plain paths; the card may be written then."""
    if is_open(out) or not all((out / name).is_file() for name in names.values()):
        open_again(out)
        for path, name in names.items():
            (out / STATE / path).rename(out / STATE / name)
        for kind in KINDS:
            if (out / STATE / kind).is_dir():
                (out / STATE / kind).rename(out / kind)
