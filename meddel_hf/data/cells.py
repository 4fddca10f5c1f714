"""Image cells of a table, at any depth of its columns."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, Image, Value

from meddel_hf.data.parquet import MOST_BYTES
from meddel_hf.errors import InvalidDataset, UnreadableImage
from meddel_hf.schema import IMAGE

Cell = dict[str, Any]  # {"bytes": the file's content or None, "path": its name or None}


def holds_images(feature: Any) -> bool:
    """True for an image, and for a list or a struct with one inside."""
    return isinstance(feature, Image) or any(holds_images(inner) for inner in _inside(feature))


def opened(features: Features) -> Features:
    """The same features, in which every image is one that opens as a picture."""
    return Features({name: _opened(feature) for name, feature in features.items()})


def with_images_opened(dataset: Dataset) -> Dataset:
    """The data set as others are to see it: its images open as pictures, whatever its reader asked for.

    A column `image` of paths or bytes becomes images, where the data set has no column of images.
    """
    features = opened(dataset.features)
    plain = features.get(IMAGE)
    is_plain = isinstance(plain, Value) and plain.dtype in ("string", "binary")
    if is_plain and not any(map(holds_images, features.values())):
        parts = dataset.data, dataset.info.copy(), dataset.split, dataset._indices, dataset._fingerprint
        return Dataset(*parts).cast_column(IMAGE, Image())
    info = dataset.info.copy()
    info.features = features
    table = dataset.data.cast(features.arrow_schema)  # of one and the same storage: nothing is copied
    return Dataset(table, info, dataset.split, dataset._indices, dataset._fingerprint)


def change_images(table: pa.Table, features: Features, change: Callable[[Cell], Cell]) -> pa.Table:
    """The table with `change` applied to each image that is there."""
    for name, feature in features.items():
        if holds_images(feature):
            values = [_changed(value, feature, change) for value in table[name].to_pylist()]
            at = table.schema.get_field_index(name)
            field = table.schema.field(at)
            table = table.set_column(at, field, pa.array(values, field.type))
    return table


def with_bytes(cell: Cell) -> Cell:
    """The image with its file's content in it, and of its path only the name.

    Raises UnreadableImage where there is no such file, InvalidDataset where it is larger than a column can hold.
    """
    data, path = cell["bytes"], cell["path"]
    if data is None and path is not None:
        data = _read(path)
    if data is not None and len(data) > MOST_BYTES:
        raise InvalidDataset(_too_large(path, len(data)))
    return {"bytes": data, "path": None if path is None else os.path.basename(path)}


def _read(path: str) -> bytes:
    from datasets.utils.file_utils import xopen

    if os.path.isfile(path) and os.path.getsize(path) > MOST_BYTES:
        raise InvalidDataset(_too_large(path, os.path.getsize(path)))
    try:
        with xopen(path, "rb") as file:
            return bytes(file.read())
    except FileNotFoundError:
        raise UnreadableImage(f"{path}: file not found: put it back, or embed and select again") from None


def _too_large(path: str | None, size: int) -> str:
    return (
        f"{path or 'an image'} has {size:,} bytes, and a Parquet column of images holds {MOST_BYTES:,} a row at most: "
        "store the frame compressed, or leave it out"
    )


def _inside(feature: Any) -> list[Any]:
    if isinstance(feature, dict):
        return list(feature.values())
    if isinstance(feature, (list, tuple)):
        return list(feature)
    inner = getattr(feature, "feature", None)
    return [] if inner is None else [inner]


def _opened(feature: Any) -> Any:
    if isinstance(feature, Image):
        return replace(feature, decode=True)
    if not holds_images(feature):
        return feature
    if isinstance(feature, dict):
        return {name: _opened(inner) for name, inner in feature.items()}
    if isinstance(feature, (list, tuple)):
        return [_opened(inner) for inner in feature]
    return replace(feature, feature=_opened(feature.feature))


def _changed(value: Any, feature: Any, change: Callable[[Cell], Cell]) -> Any:
    if value is None or not holds_images(feature):
        return value
    if isinstance(feature, Image):
        return change(value)
    if isinstance(feature, dict):
        return {name: _changed(value[name], inner, change) for name, inner in feature.items()}
    inner = _inside(feature)[0]
    return [_changed(one, inner, change) for one in value]
