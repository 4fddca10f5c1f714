"""The columns of a pool that is made of own files, and what a path or a table says of each file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Features, Image, Value

from meddel_hf import schema
from meddel_hf.data.columns import FIELDS
from meddel_hf.data.frame_table import FrameTable, shown
from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.ingest.files import File
from meddel_hf.ingest.parts import SYNONYMS, Parts
from meddel_hf.runtime.similar import composed, with_composed
from meddel_hf.runtime.words import plural

_TEXT = Value("string")
FEATURES = Features(
    {
        schema.ID: _TEXT,  # path without suffix; of what has several pictures, with the number of the picture
        schema.IMAGE: Image(),  # a picture's bytes as they came; JPEG of videos, PNG of all others
        schema.MASK: Image(),  # one channel, 0 or 255, of the image's size; null where there is none
        schema.LABEL: _TEXT,
        schema.SOURCE: _TEXT,  # name of the pool
        schema.CENTER: _TEXT,
        schema.PATIENT: _TEXT,
        schema.VIDEO: _TEXT,
        schema.GROUP: _TEXT,  # what no split may part: patient, else study, else video, volume or slide
        schema.OFFICIAL_SPLIT: _TEXT,
        schema.FILE: _TEXT,  # path with suffix
        schema.FRAME: Value("int32"),  # number of the picture in its file, from 0; null of a plain picture or a tile
        schema.WIDTH: Value("int32"),
        schema.HEIGHT: Value("int32"),
    }
)
OF_DICOM = Features({schema.STUDY: _TEXT, schema.SERIES: _TEXT})  # pseudonyms, unless plain ids were asked for


@dataclass(frozen=True)
class Described:
    """What is said of files.

    by_path: path -> values by column. kept, left_out: columns of the table besides FIELDS. unknown: rows of the table
    that name no file.
    """

    by_path: dict[str, dict[str, str]]
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def features(columns: Sequence[str], dicom: bool) -> Features:
    """Of the whole pool. columns: of the table, as they are called there."""
    return Features({**FEATURES, **(OF_DICOM if dicom else {}), **dict.fromkeys(columns, _TEXT)})


def described(
    files: Sequence[File],
    folder: Path,
    parts: Sequence[str],
    table: Path | None,
    keep: Sequence[str],
    allow_missing: bool,
) -> Described:
    """Values of each file by its path and by the table, whose word counts where both have one.

    Raises InvalidArgument where no file, or only some, fit the patterns or stand in the table, unless some may be
    missing; InvalidDataset where the table is none.
    """
    by_path: dict[str, dict[str, str]] = {file.path: {} for file in files}
    if parts:
        _by_parts(by_path, files, [Parts.of(pattern) for pattern in parts], allow_missing)
    if table is None:
        if keep:
            raise InvalidArgument("--keep-column names a column of a table, and there is none: name it with --table")
        return Described(by_path)
    return _by_table(by_path, files, folder, table, keep, allow_missing)


def _by_parts(
    by_path: Mapping[str, dict[str, str]], files: Sequence[File], patterns: Sequence[Parts], allow_missing: bool
) -> None:
    missed = []
    for file in files:
        values = next((found for one in patterns if (found := one.values(file.path, file.stem)) is not None), None)
        if values is None:
            missed.append(file.path)
        else:
            by_path[file.path].update(values)
    typed = " and ".join(repr(one.pattern) for one in patterns)
    if len(missed) == len(files):
        raise InvalidArgument(
            f"--parts {typed} fits none of the {plural(len(files), 'file')}, such as {missed[0]}: a field such as "
            "{center} is a part of one folder's name, and * is anything"
        )
    if missed and not allow_missing:
        raise InvalidArgument(
            f"--parts {typed} fits {len(files) - len(missed):,} of {plural(len(files), 'file')}, and not "
            f"{shown(missed, len(missed))}: give another --parts for those, leave them out (--include, --exclude), or "
            "take them without values (--allow-missing)"
        )


def _by_table(
    by_path: Mapping[str, dict[str, str]],
    files: Sequence[File],
    folder: Path,
    path: Path,
    keep: Sequence[str],
    allow_missing: bool,
) -> Described:
    table = FrameTable.read(path, SYNONYMS)
    names = table.fields
    _check_columns(table.columns, names, keep, path)
    wanted = {name: target for name, target in names.items() if target in FIELDS or name in keep}
    below = _below(path, folder)
    known, unknown = _known(files), []
    named: set[str] = set()
    for row, values in table.rows.items():
        file = known.get(below + row) or known.get(composed(below + row))
        if file is None:
            unknown.append(row)
            continue
        if file.path in named:
            raise InvalidDataset(f"{path} names {file.path} twice, once without suffix: leave one row of each file")
        named.add(file.path)
        for name, target in wanted.items():
            if (value := values.get(name)) is not None:
                by_path[file.path][target] = value
    without = [file.path for file in files if file.path not in named]
    if not named:
        own = below or path.parent.resolve() == folder.resolve()
        raise InvalidArgument(
            f"{path} names none of the {plural(len(files), 'file')}: it has "
            f"{shown(table.rows, len(table.rows)) or 'no rows'}, relative to "
            f"{'its own folder' if own else folder}, and there "
            f"{'is' if len(files) == 1 else 'are'} {shown((file.path for file in files), len(files))}"
        )
    if without and not allow_missing:
        raise InvalidArgument(
            f"{path} names {len(named):,} of {plural(len(files), 'file')}, and not {shown(without, len(without))}: add "
            "rows for those, leave them out (--include, --exclude), or take them without values (--allow-missing)"
        )
    left_out = tuple(name for name in table.columns if name not in wanted)
    kept = tuple(name for name in keep if names[name] not in FIELDS)  # the others come along anyway
    return Described(dict(by_path), kept, left_out, tuple(unknown))


def _check_columns(columns: Iterable[str], names: Mapping[str, str], keep: Sequence[str], path: Path) -> None:
    reserved = {*FEATURES, *OF_DICOM} - set(FIELDS)
    for name in keep:
        if name not in names:
            raise InvalidArgument(f"{path} has no column {name!r}: it has {', '.join(columns) or 'none'}")
        if names[name] in reserved:
            raise InvalidArgument(
                f"the column {name!r} of {path} has the name of one that a pool has anyway: rename it"
            )


def _known(files: Sequence[File]) -> dict[str, File]:
    """Files by their path, and by their path without suffix; an ü is one, in one character or two."""
    return with_composed({**{file.stem: file for file in files}, **{file.path: file for file in files}})


def _below(path: Path, folder: Path) -> str:
    """What stands before the table's file names: its own folder, where it lies in the one of the files."""
    home, root = path.resolve().parent, folder.resolve()
    return f"{home.relative_to(root).as_posix()}/" if home.is_relative_to(root) and home != root else ""
