"""The stratum of each readable row, read from columns of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Value

from meddel_hf.data.columns import texts_of
from meddel_hf.data.given import one_split
from meddel_hf.data.identity import same_pool
from meddel_hf.data.ids import checked_id_array, folder_of
from meddel_hf.data.pool import load_pool
from meddel_hf.errors import InvalidDataset, Mismatch
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.runtime.similar import did_you_mean
from meddel_hf.schema import FOLDER
from meddel_hf.selectors.protocol import PoolRows

_NONE = "(none)"  # where rows without a value stand among the names of others, in alphabetical order


def strata(readable: PoolRows, pool: Any, columns: Sequence[str]) -> list[str | None]:
    """For each readable row, the first of its values in `columns` that is not null, as text; None where all are.

    columns: of the pool; or "folder", of a pool without such a column whose ids are paths: what stands before the last
             slash of a row's id, and null where it has none.
    pool:    the data set that was embedded, joined on its ids (on row numbers only where the embeddings have no
             others); None: the one that the embedding store names.
    Raises InvalidDataset where there is no such pool or column, Mismatch where the data set is another one.
    """
    dataset = _named(readable, columns) if pool is None else one_split(pool)
    no_columns = [name for name in columns if name not in dataset.column_names]
    folders = _folders(readable) if no_columns and FOLDER not in dataset.column_names else {}
    missing = [name for name in no_columns if name not in folders]
    if missing:
        raise InvalidDataset(
            f"the pool has no column {', '.join(map(repr, missing))} to part its rows by; "
            f"{_offered(dataset, readable, [*folders], missing[0])}"
        )
    rows = rows_in(dataset, readable)
    names: list[str | None] = [None] * len(rows)
    for column in reversed(columns):  # so that the first has the last word
        values = folders.get(column)
        if values is None:
            texts = _texts(dataset, column)
            values = [texts[row] for row in rows]
        names = [name if value is None else value for name, value in zip(names, values, strict=True)]
    return names


def _folders(readable: PoolRows) -> dict[str, list[str | None]]:
    """The folder of each readable row, under the name of all folders; nothing where no row has one."""
    folders = [folder_of(id) or None for id in readable.names.to_pylist()]
    return {FOLDER: folders} if any(folders) else {}


def _offered(dataset: Dataset, readable: PoolRows, folders: list[str], missing: str) -> str:
    """What may be named instead."""
    origin = readable.origin
    others = [name for name in dataset.column_names if name not in (origin.id_column, origin.image_column)] + folders
    if not others:
        return 'it has ids and images alone: `meddel pool FOLDER --parts "{label}/*"` makes columns of paths'
    what = f", {FOLDER!r} being that of the frame" if folders else ""
    return f"it has {', '.join(others)}{what}: name one of those{did_you_mean(missing, others)}"


def values_of(readable: PoolRows, pool: Any, *columns: str) -> list[str | None]:
    """`strata`, of columns of which one at least says something. Raises InvalidDataset where none does."""
    values = strata(readable, pool, columns)
    if all(value is None for value in values):
        raise InvalidDataset(
            f"column {' and '.join(map(repr, columns))} of the pool is empty: nothing to part frames by; name another"
        )
    return values


def numbered(values: Sequence[str | None]) -> tuple[Rows, Rows]:
    """(number of each row's stratum, rows of each): strata in the order of their names; rows of none form one too."""
    names = sorted(set(values), key=lambda name: (_NONE if name is None else name, name is not None))
    place = {name: number for number, name in enumerate(names)}
    number = np.array([place[value] for value in values], np.int64)
    return number, np.bincount(number)


def pool_of(readable: PoolRows, pool: Any) -> tuple[Dataset | None, str]:
    """The data set that was embedded, `pool` or else the one that the embeddings name; or None, and why there is none.

    Raises InvalidDataset where `pool` is no data set.
    """
    if pool is not None:
        return one_split(pool), ""
    try:
        return _named(readable, ["columns"]), ""
    except InvalidDataset as error:
        return None, str(error)


def _named(readable: PoolRows, columns: Sequence[str]) -> Dataset:
    cure = "pass the data set that was embedded as pool= (--pool)"
    spec = readable.origin.spec
    if spec is None:
        raise InvalidDataset(f"strata are read from the pool's {', '.join(columns)}, and no pool is named: {cure}")
    try:
        return one_split(load_pool(spec))
    except ValueError as error:  # InvalidDataset and InvalidArgument
        raise InvalidDataset(
            f"strata are read from the pool's {', '.join(columns)}, and the pool {spec!r} that was embedded cannot be "
            f"opened ({error}): {cure}"
        ) from error


def rows_in(dataset: Dataset, readable: PoolRows) -> Rows:
    """Row of `dataset` for each readable row, (n,), joined on ids; on row numbers where the embeddings have no others.

    Raises InvalidDataset or Mismatch where it is not the pool that was embedded.
    """
    origin = readable.origin
    if origin.row_ids:
        if len(dataset) != len(readable.ids) or (origin.embeddings and not same_pool(dataset, origin.fingerprint)):
            raise Mismatch(
                f"the embeddings' ids are row numbers of another data set ({len(readable.ids):,} rows, fingerprint "
                f"{origin.fingerprint}); this one has {len(dataset):,} rows and fingerprint {dataset._fingerprint}: "
                "pass the very data set that was embedded; where that was streamed there is none: embed it without "
                "--streaming, or with ids"
            )
        return readable.rows
    column = readable.id_column
    if column not in dataset.column_names:
        raise InvalidDataset(
            f"the pool has no column {column!r} with the ids of the embeddings; it has "
            f"{', '.join(dataset.column_names)}: pass the data set that was embedded"
        )
    names = readable.names
    place = pc.index_in(names, checked_id_array(dataset, column).combine_chunks())
    if place.null_count:
        unknown = names.filter(pc.is_null(place))[0].as_py()
        raise Mismatch(
            f"the pool lacks {place.null_count:,} of the {len(names):,} ids that were embedded, such as {unknown!r}: "
            "pass the data set that was embedded"
        )
    return np.asarray(place).astype(np.int64)


def _texts(dataset: Dataset, column: str) -> list[str | None]:
    feature = dataset.features[column]
    if not isinstance(feature, Value | ClassLabel):
        raise InvalidDataset(f"column {column!r} holds {feature}: strata need a column of single values, such as text")
    return texts_of(dataset, column)
