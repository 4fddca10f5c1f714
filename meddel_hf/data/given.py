"""Frames as a program may hold them: data sets, splits, a path, a list of paths or of pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from datasets import Dataset, Features, Image, IterableDataset, Value, concatenate_datasets
from PIL import Image as Pictures

from meddel_hf.data.ids import check_unique
from meddel_hf.data.pool import load_pool
from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.runtime.reading import shown
from meddel_hf.runtime.similar import did_you_mean
from meddel_hf.schema import ID, IMAGE

Frames = (
    Dataset | IterableDataset | Mapping[str, Dataset | IterableDataset] | str | PurePath
    | Sequence[str | PurePath] | Sequence[Pictures.Image] | Sequence[np.ndarray[Any, Any]]
)  # fmt: skip


def as_data_set(given: Any, split: str | None = None) -> Dataset | IterableDataset:
    """A data set of the frames that were given.

    given: a data set as it is; a dictionary of splits: one of them, or all, one after the other; a path or Hub id, as
           `load_pool` takes it; a list of files, whose ids are their paths without suffix below the folder that they
           share; or a list of PIL pictures or arrays (height, width) or (height, width, 3 or 4) of uint8, whose ids are
           their places.
    split: of a dictionary of splits. Raises InvalidDataset for all else, and InvalidArgument for a split of all else.
    """
    if isinstance(given, Mapping):
        return _of_splits(given, split)
    if split is not None:
        raise InvalidArgument(
            f"split={split!r} chooses from a dictionary of splits, and this is {_kind(given)}: leave it out, or write "
            f"a path or Hub id as PATH@{split}"
        )
    if isinstance(given, Dataset | IterableDataset):
        return given
    if isinstance(given, str | PurePath):
        return load_pool(str(given))
    is_list = isinstance(given, Sequence) and not isinstance(given, bytes | bytearray)
    if (is_list or (isinstance(given, np.ndarray) and given.ndim == 4)) and len(given):  # one picture is no list
        return _of_list(given)
    raise InvalidDataset(
        f"expected a data set, its splits, a path, or a list of files, PIL pictures or arrays, got {_kind(given)}"
    )


def one_split(pool: Any) -> Dataset:
    """Raises InvalidDataset where it is no `datasets.Dataset`, such as a stream, or several splits."""
    if not isinstance(pool, Dataset):
        raise InvalidDataset(
            f"pool must be a datasets.Dataset, got {type(pool).__name__}: give one split, that is no stream"
        )
    return pool


def _of_splits(splits: Mapping[str, Any], split: str | None) -> Dataset | IterableDataset:
    if split is not None:
        if split not in splits:
            meant = did_you_mean(split, splits)
            raise InvalidDataset(f"there is no split {split!r}; there are {', '.join(map(str, splits))}{meant}")
        return as_data_set(splits[split])
    parts = list(splits.values())
    if not parts or not all(isinstance(part, Dataset | IterableDataset) for part in parts):
        raise InvalidDataset(f"expected data sets by the names of their splits, got {shown(splits)}")
    if len(parts) == 1:
        return parts[0]
    try:
        whole: Dataset | IterableDataset = concatenate_datasets(parts)
    except (ValueError, TypeError) as error:  # columns of one name and different kinds, or streams beside data sets
        raise InvalidDataset(
            f"the splits {', '.join(map(str, splits))} do not go together ({error}): choose one with split="
        ) from error
    return whole


def _of_list(given: Sequence[Any] | np.ndarray[Any, Any]) -> Dataset:
    kinds = {_kind_of_frame(one) for one in given}
    if len(kinds) > 1 or kinds <= {None}:
        first = _kind_of_frame(given[0])
        odd = next(one for one in given if first is None or _kind_of_frame(one) != first)
        raise InvalidDataset(
            f"expected a list of files, of PIL pictures, or of arrays (height, width) or (height, width, 3 or 4) of "
            f"uint8, got {_kind(odd)} in it"
        )
    if kinds == {"file"}:
        return _of_files([Path(one) for one in given])
    return Dataset.from_dict({IMAGE: list(given)}, features=Features({IMAGE: Image()}))


def _of_files(files: Sequence[Path]) -> Dataset:
    whole = [Path(os.path.abspath(file)) for file in files]
    for file, path in zip(files, whole, strict=True):
        if not path.is_file():
            raise InvalidDataset(f"{file} is {'a folder' if path.is_dir() else 'not there'}: expected a list of files")
    shared = os.path.commonpath([path.parent for path in whole])
    ids = [path.relative_to(shared).with_suffix("").as_posix() for path in whole]
    check_unique(ids, "two files of one list have the same id, their path without suffix")
    features = Features({ID: Value("string"), IMAGE: Image(decode=False)})
    return Dataset.from_dict({ID: ids, IMAGE: list(map(str, whole))}, features=features)


def _kind_of_frame(one: Any) -> str | None:
    if isinstance(one, str | PurePath):
        return "file"
    if isinstance(one, Pictures.Image):
        return "picture"
    is_picture = isinstance(one, np.ndarray) and one.dtype == np.uint8 and one.size
    if is_picture and (one.ndim == 2 or (one.ndim == 3 and one.shape[2] in (3, 4))):
        return "array"
    return None


def _kind(given: Any) -> str:
    if isinstance(given, np.ndarray):
        return f"an array of {given.dtype}, shape {given.shape}"
    return f"a {type(given).__name__}" + (" of nothing" if isinstance(given, Sequence) and not len(given) else "")
