"""Ids of frames from the files that the rows name, for data sets that another program made of the same folder."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import PurePath
from typing import TYPE_CHECKING

from meddel_hf.data.identity import named_files

if TYPE_CHECKING:
    from datasets import Dataset

_TRIED = 64  # rows by which the folder is found


def ids_by_path(dataset: Dataset, image_column: str, known: Collection[str]) -> list[str] | None:
    """The id of every row: its file's path without suffix, below the folder in which `known` ids stand.

    As of `load_dataset("imagefolder", data_dir=...)` and the ids that `load_pool` gives the same folder. None where a
    row names no file on this machine, and where there is no folder below which an id is known. known: a set.
    """
    if image_column not in dataset.column_names or not len(dataset):
        return None
    named = named_files(dataset, image_column)
    if len(named) < len(dataset):
        return None
    files = [PurePath(os.path.abspath(named[row])).with_suffix("") for row in range(len(dataset))]
    shared = PurePath(os.path.commonpath([file.parent for file in files]))
    some = files[:: max(1, len(files) // _TRIED)]
    count, folder = max(
        ((sum(_below(folder, file) in known for file in some), folder) for folder in (shared, *shared.parents)),
        key=lambda one: one[0],
    )
    return [_below(folder, file) for file in files] if count else None


def _below(folder: PurePath, file: PurePath) -> str:
    return file.relative_to(folder).as_posix()
