"""Frames of a store by what a column of the pool says of them, such as all of one patient."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import ClassLabel, Value

from meddel_hf.data.columns import texts_of
from meddel_hf.data.identity import same_pool
from meddel_hf.data.ids import checked_ids_of, folder_of
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.runtime.reading import shown, some_of
from meddel_hf.runtime.similar import composed, did_you_mean
from meddel_hf.runtime.words import is_or_are, plural
from meddel_hf.schema import FOLDER
from meddel_hf.selectors.protocol import PoolRows
from meddel_hf.selectors.strata import pool_of

Where = Mapping[str, str | Collection[str]]


@dataclass(frozen=True)
class OfValue:
    """What was found.

    ids: of the store, in the pool's order. asked: "patient=p01", as it may be typed.
    unknown: frames of the store that are not in the pool, of which nobody knows the value.
    """

    ids: tuple[str, ...]
    asked: str
    unknown: int = 0

    def __str__(self) -> str:
        found = f"{self.asked}: {plural(len(self.ids), 'frame')} found"
        lines = [f"{found}: {some_of(self.ids)}" if self.ids else f"{found} in the store"]
        if self.unknown:
            frames = plural(self.unknown, "frame")
            lines.append(
                f"warning: {frames} of the store {is_or_are(self.unknown)} not in the pool as it is now, so that their "
                "values are not known: name such frames by their ids"
            )
        return "\n".join(lines)


def frames_of_value(store: EmbeddingStore, where: Where, pool: Any = None) -> OfValue:
    """Frames, readable or not, whose columns have these values.

    where: column of the pool -> a value, or several, any of which will do; of two columns a frame must have both.
           "folder", of a pool without such a column whose ids are paths: frames in that folder or below it.
    pool:  the data set that was embedded, joined on its ids; None: the one that the store names.
    Raises InvalidDataset where there is no such pool or column, InvalidArgument for a value that no frame has, and
    Mismatch where ids are row numbers of another data set.
    """
    readable = PoolRows.without_embeddings(store)
    dataset, why_not = pool_of(readable, pool)
    asked = {column: [wanted] if isinstance(wanted, str) else list(wanted) for column, wanted in where.items()}
    columns = set() if dataset is None else asked.keys() & set(dataset.column_names)
    pool_ids = _ids(dataset, store, readable.id_column) if columns else []
    left = set(store.pool_ids)
    for column, values in asked.items():
        if column in columns:
            of = _values(dataset, column, pool_ids)
        else:
            _check_is_folder(column, dataset, why_not, store, readable)
            of = {id: _folders_above(id) for id in store.pool_ids}
        left &= set(_having(of, column, values))
    ids = tuple(id for id in store.pool_ids if id in left)
    typed = " and ".join(" or ".join(f"{column}={value}" for value in values) for column, values in asked.items())
    return OfValue(ids, typed, len(set(store.pool_ids).difference(pool_ids)) if columns else 0)


def _having(of: Mapping[str, Sequence[str]], column: str, wanted: Sequence[str]) -> list[str]:
    """Ids of frames that have one of the values. of: id -> its value, or values."""
    there: dict[str, list[str]] = {}
    for id, values in of.items():
        for value in values:
            there.setdefault(composed(value), []).append(id)
    found: list[str] = []
    for value in wanted:
        name = composed(value.strip().rstrip("/") if column == FOLDER else value.strip())
        if name not in there:
            raise InvalidArgument(f"no frame has {shown(value)} in the column {column!r}; {_near(name, sorted(there))}")
        found += there[name]
    return found


def _near(name: str, values: Sequence[str]) -> str:
    """Which values there are instead: those that end so first, as north/p01 where p01 was typed."""
    same = [value for value in values if value.rpartition("/")[2] == name.rpartition("/")[2]]
    if same:
        return f"did you mean {some_of(same)}?"
    meant = did_you_mean(name, values)
    return f"it has {some_of(values)}{meant}" if values else "it is empty"


def _values(dataset: Any, column: str, ids: Sequence[str]) -> dict[str, list[str]]:
    """id -> its value; nothing of frames that have none. ids: of the rows of the data set."""
    feature = dataset.features[column]
    if not isinstance(feature, Value | ClassLabel):
        raise InvalidDataset(f"column {column!r} holds {feature}: name a column of single values, such as text")
    texts = texts_of(dataset, column)
    return {id: [text.strip()] for id, text in zip(ids, texts, strict=True) if text is not None}


def _ids(dataset: Any, store: EmbeddingStore, id_column: str) -> list[str]:
    """Of the rows of the data set, as the store names them."""
    if store.row_ids:
        if len(dataset) != len(store.pool_ids) or not same_pool(dataset, store.pool_fingerprint):
            raise Mismatch(
                f"the ids of {store.folder} are row numbers of another data set, by which frames of this one cannot be "
                "found: give the very data set that was embedded as pool= (--pool), or name the rows by their numbers"
            )
        return store.pool_ids
    if id_column not in dataset.column_names:
        raise InvalidDataset(
            f"the pool has no column {id_column!r} with the ids of the embeddings; it has "
            f"{', '.join(dataset.column_names)}: give the data set that was embedded as pool= (--pool)"
        )
    return checked_ids_of(dataset, id_column)  # of an id that stands twice one row would count, and the other not


def _folders_above(id: str) -> list[str]:
    parts = folder_of(id).split("/")
    return ["/".join(parts[: end + 1]) for end in range(len(parts)) if parts[0]]


def _check_is_folder(column: str, dataset: Any, why_not: str, store: EmbeddingStore, readable: PoolRows) -> None:
    """Raises InvalidDataset of a column that is not there, and is not that of the folders of ids that are paths."""
    paths = any(folder_of(id) for id in store.pool_ids)
    if column == FOLDER and paths:
        return
    if dataset is None:
        raise InvalidDataset(f"the column {column!r} is read from the pool, which is not at hand: {why_not}")
    own = (readable.id_column, readable.origin.image_column)
    others = [name for name in dataset.column_names if name not in own] + [FOLDER] * paths
    has = f"it has {', '.join(others)}" if others else "it has ids and images alone"
    raise InvalidDataset(f"the pool has no column {column!r}; {has}: name one of those{did_you_mean(column, others)}")
