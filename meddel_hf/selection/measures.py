"""What a selection covers, without training: values of a column, videos, the farthest frame, diversity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Value
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.data.columns import texts_of
from meddel_hf.data.given import one_split
from meddel_hf.data.groups import groups_of, names_groups
from meddel_hf.data.ids import folder_of
from meddel_hf.runtime.reading import printable, some_of
from meddel_hf.selection.answer import Answer, Origin

GROUPS = (schema.CENTER, schema.LABEL)  # columns whose values are counted unasked
_MOST = 12  # values that are shown


class Choice(Protocol):
    """What is counted of a selection, or of a first step: ids of every row of the pool, and of those that are kept."""

    @property
    def origin(self) -> Origin: ...

    @property
    def id_array(self) -> pa.ChunkedArray: ...

    @property
    def kept_array(self) -> pa.ChunkedArray: ...


@dataclass(frozen=True)
class Kept:
    """rows: of each value of a column, most frequent first (equals by name): (value, rows of the pool, rows kept).

    without: (rows of the pool, rows kept) that have no value.
    """

    column: str
    rows: tuple[tuple[str, int, int], ...]
    without: tuple[int, int]

    @property
    def lost(self) -> list[str]:
        """Values of which nothing is kept."""
        return [value for value, _, kept in self.rows if not kept]

    @property
    def values(self) -> Values:
        return Values(len(self.rows), len(self.rows) - len(self.lost))

    def warning(self, selection: Answer) -> str | None:
        """A sentence where nothing is kept of some value, and what would change that in the selection."""
        if not self.lost:
            return None
        cure = f"--min-per {self.column}=1 keeps a frame of each at least"
        if selection.settings.get("selector") != "dedup":
            cure = f"--selector dedup with {cure}"
        elif not selection.summary.not_selected or self.column in (selection.settings.get("min_per") or ()):
            cure = "all its frames are near-duplicates of frames that stay, or unreadable"
        return f"nothing is kept of {self.column} {some_of(self.lost)}: {cure}"

    def __str__(self) -> str:
        shown = [(printable(value), pool, kept) for value, pool, kept in self.rows[:_MOST]]
        width = max(len(self.column) + 8, *(len(value) + 2 for value, _, _ in shown))
        lines = [f"{'kept of ' + self.column:<{width}}{'pool':>10}{'kept':>10}{'share':>9}"]
        counts = [("  " + value, pool, kept) for value, pool, kept in shown]
        counts += [(f"no {self.column}", *self.without)] if self.without[0] else []
        lines += [f"{name:<{width}}{pool:>10,}{kept:>10,}{kept / pool:>9.2%}" for name, pool, kept in counts]
        if len(self.rows) > _MOST:
            more = f"  and {len(self.rows) - _MOST:,} more, {len(self.lost):,} of all with nothing kept"
            lines.insert(_MOST + 1, more)
        return "\n".join(lines)


@dataclass(frozen=True)
class Values:
    """pool: values of a column, such as videos or centres, that were selected from. kept: those of which a frame is
    kept."""

    pool: int
    kept: int


@dataclass(frozen=True)
class Measures:
    """What a selection covers.

    scenes, labels, centers: of the pool's columns `group`, `label`, `center`; None where it does not tell them apart.
    farthest:  the readable frame that is least like any kept one, and its cosine to the nearest; None: not known.
    effective: number of distinct frames among those that are kept (Vendi score). of_pool: among all that are readable.
    """

    scenes: Values | None
    labels: Values | None
    centers: Values | None
    farthest: tuple[str, float] | None
    effective: float
    of_pool: float


def kept_of(selection: Choice, pool: Dataset, column: str) -> Kept | None:
    """How much of each value of a column is kept, of the rows that were selected from.

    column: of the pool; or "folder", of a pool without such a column whose ids are paths.
    None where the pool has no such column, or it is empty, and where the pool is not the one that was selected from.
    """
    return next(iter(_counted(selection, pool, (column,))), None)


def farthest(selection: Answer) -> tuple[str, float] | None:
    """The readable frame that is least like any kept one: (id, cosine to the nearest); None where that is not known.

    Known of a selector that compares every frame that goes with all that are kept.
    """
    names = selection.table.column_names
    column = schema.NEAREST_SIMILARITY if schema.NEAREST_SIMILARITY in names else schema.SIMILARITY
    if column not in names or (column == schema.SIMILARITY and selection.summary.not_selected):
        return None
    known = selection.table.filter(pc.is_valid(selection.table[column]))
    if not len(known):
        return None
    at = int(np.argmin(known[column].to_numpy()))
    return known[schema.ID][at].as_py(), known[column][at].as_py()


def vendi(vectors: NDArray[np.floating]) -> float:
    """Effective number of distinct rows, in [1, min(n, d)]: the exponential of the entropy of the eigenvalues of their
    cosines, divided by n (Friedman and Dieng, arXiv 2210.02410).

    vectors: (n, d), of unit length.
    """
    gram = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), 4096):
        part = vectors[start : start + 4096].astype(np.float64)
        gram += part.T @ part
    share = np.linalg.eigvalsh(gram / len(vectors)).clip(min=0)
    share = share[share > 1e-12] / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def covered(selection: Choice, pool: Dataset | None, named: Sequence[str] = ()) -> list[Kept]:
    """What is kept of each centre and label, where the pool tells them apart, and of each value of the columns that are
    `named`. Reads those columns and the ids alone."""
    asked = tuple(dict.fromkeys((*GROUPS, *named)))
    if pool is None:
        counted = [_folders(selection)] if schema.FOLDER in named else []
        return [kept for kept in counted if kept is not None]
    return [kept for kept in _counted(selection, pool, asked) if len(kept.rows) > 1 or kept.column in named]


def shared_by(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns by whose values a selection was bounded or shared out: those of floors, caps and shares."""
    per = settings.get("per")
    return tuple(
        dict.fromkeys((*(settings.get("min_per") or ()), *(settings.get("max_per") or ()), *([per] if per else ())))
    )


def sequences(selection: Choice, pool: Dataset | None) -> Values | None:
    """What is kept of the pool's videos, sequences or patients, as `groups_of` has them.

    None where it names none, and where it is not at hand or is another one.
    """
    if pool is None or not names_groups(pool):
        return None
    kept = _kept(schema.GROUP, _rows_of(selection, pool), groups_of(pool))
    return None if kept is None else kept.values


def facts_of(
    selection: Answer, far: tuple[str, float] | None, groups: Values | None, columns: Sequence[Kept]
) -> dict[str, Any]:
    """What a selection did, and what it covers, as plain values with the names that the reference gives them."""
    return {
        **asdict(selection.summary),
        "selector": selection.settings,
        "farthest": None if far is None else {"id": far[0], "cosine": far[1]},
        "groups": None if groups is None else asdict(groups),
        "columns": [
            {
                "column": kept.column,
                "values": [{"value": value, "pool": pool, "kept": count} for value, pool, count in kept.rows],
                "without": {"pool": kept.without[0], "kept": kept.without[1]},
            }
            for kept in columns
        ],
    }


def _counted(selection: Choice, pool: Dataset, columns: Sequence[str]) -> list[Kept]:
    """`kept_of` for those of the columns of which there is something to count."""
    one_split(pool)
    features = {column: pool.features.get(column) for column in columns}
    there = [column for column, feature in features.items() if isinstance(feature, Value | ClassLabel)]
    rows = _rows_of(selection, pool) if there else None
    counted = [_kept(column, rows, texts_of(pool, column)) for column in there]
    if schema.FOLDER in columns and schema.FOLDER not in pool.column_names:
        counted.append(_folders(selection))
    return [kept for kept in counted if kept is not None]


def _folders(selection: Choice) -> Kept | None:
    """What is kept of each folder; None where ids are no paths."""
    ids = selection.id_array
    kept = pc.is_in(ids, selection.kept_array.combine_chunks())
    texts = [folder_of(id) or None for id in ids.to_pylist()]
    return _kept(schema.FOLDER, _Rows(np.ones(len(ids), bool), np.asarray(kept)), texts)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Of every row of a data set, (n,) bool: whether it was selected from, and whether it is kept."""

    known: NDArray[np.bool_]
    kept: NDArray[np.bool_]


def _rows_of(selection: Choice, pool: Dataset) -> _Rows | None:
    """None where the data set is not the one that was selected from."""
    ids = selection.origin.id_array_in(pool, selection.id_array)
    if ids is None or not pc.all(pc.is_in(selection.id_array, ids.combine_chunks())).as_py():
        return None
    known, kept = (pc.is_in(ids, some.combine_chunks()) for some in (selection.id_array, selection.kept_array))
    return _Rows(np.asarray(known), np.asarray(kept))


def _kept(column: str, rows: _Rows | None, texts: Sequence[str | None]) -> Kept | None:
    """texts: of every row of the data set. None where rows are None, and where none has a value."""
    if rows is None:
        return None
    values = pa.array(texts, pa.string()).dictionary_encode("encode")
    number, names = np.asarray(values.indices), values.dictionary.to_pylist()
    in_pool, in_kept = (
        dict(zip(names, np.bincount(number[some], minlength=len(names)).tolist(), strict=True))
        for some in (rows.known, rows.kept)
    )
    named = sorted((name for name in names if name is not None and in_pool[name]), key=lambda v: (-in_pool[v], v))
    each = tuple((name, in_pool[name], in_kept[name]) for name in named)
    return Kept(column, each, (in_pool.get(None, 0), in_kept.get(None, 0))) if each else None
