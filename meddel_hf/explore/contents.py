"""What the page knows of a selection: a number of each row and thing, and words once each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Value
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.data.columns import texts_of
from meddel_hf.data.ids import folder_of
from meddel_hf.dedup.density import CosineSample
from meddel_hf.dedup.graph import NearDuplicateGraph, SecondStep
from meddel_hf.explore.edges import Edges
from meddel_hf.explore.packing import packed
from meddel_hf.explore.plane import Plane
from meddel_hf.runtime.network import public
from meddel_hf.runtime.plain import plain

# What became of a row, by its place here; the page has the same list.
STATES = ("kept", "near-duplicate", "not-selected", "outlier", "in-reference", "unreadable", "set-aside")
MOST_VALUES = 200  # of a column that is coloured and counted
_MOST_COLUMNS = 8
_NO_VALUE = 0


class Whence(Protocol):
    """What a selection was made from."""

    @property
    def spec(self) -> str | None: ...
    @property
    def embeddings(self) -> str | None: ...
    @property
    def encoder(self) -> str | None: ...
    @property
    def id_column(self) -> str: ...
    @property
    def image_column(self) -> str: ...
    def ids_in(self, pool: Dataset, known: Collection[str]) -> list[str] | None: ...


class Choice(Protocol):
    """What is looked at: a `Selection`, which stands in a room above this one."""

    @property
    def origin(self) -> Whence: ...
    @property
    def ids(self) -> list[str]: ...

    @property
    def table(self) -> pa.Table: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def eta(self) -> float | None: ...
    @property
    def graph(self) -> NearDuplicateGraph | None: ...
    @property
    def density(self) -> CosineSample | None: ...
    @property
    def second(self) -> SecondStep | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the pool by which rows are coloured and counted.

    values: in the order in which they are shown, those of most rows first.
    codes:  (n,) uint16, one more than the place of a row's value; 0 where it has none.
    """

    name: str
    values: Sequence[str]
    codes: NDArray[np.uint16]

    @classmethod
    def of(cls, name: str, texts: Sequence[str | None]) -> Column | None:
        """None where there is nothing to tell apart, or too much."""
        count = Counter(texts)
        without = count.pop(None, 0) + count.pop("", 0)
        if len(count) + bool(without) < 2 or len(count) > MOST_VALUES:
            return None
        values = sorted((text for text in count if text), key=lambda text: (-count[text], text))
        code: dict[str | None, int] = {text: number for number, text in enumerate(values, 1)}
        return cls(name, values, np.fromiter((code.get(text, _NO_VALUE) for text in texts), np.uint16, len(texts)))


def columns_of(pool: Dataset, rows: Sequence[int], id_column: str = schema.ID) -> list[Column]:
    """Columns of single values, text or labels, that tell rows of the pool apart.

    rows: of the pool, in the order that is wanted; -1 of a row that it has not. id_column: holds the ids.
    """
    named = [name for name, kind in pool.features.items() if name != id_column and _tells_apart(name, kind)]
    first = [name for name in (schema.CENTER, schema.LABEL, schema.SOURCE) if name in named]
    answer = []
    for name in [*first, *(name for name in named if name not in first)]:
        texts = texts_of(pool, name)
        column = Column.of(name, [texts[row] if row >= 0 else None for row in rows])
        answer += [] if column is None else [column]
    return answer[:_MOST_COLUMNS]


def folders_of(ids: Sequence[str]) -> Column | None:
    """Ids that are paths, as those of a folder of images: the folder of each, as a column; None where none differs."""
    return Column.of(schema.FOLDER, [folder_of(id) for id in ids])


def _tells_apart(name: str, kind: Any) -> bool:
    if name in (schema.ID, schema.IMAGE, schema.MASK, "file_name"):
        return False
    return isinstance(kind, ClassLabel) or (
        isinstance(kind, Value) and kind.dtype in ("string", "large_string", "bool")
    )


def contents(
    choice: Choice,
    *,
    title: str,
    plane: Plane | None = None,
    columns: Sequence[Column] = (),
    most_edges: int,
    more: Mapping[str, Any] | None = None,
) -> bytes:
    """Everything but the pictures, `packed`. most_edges: pairs of near-duplicates that may be carried."""
    table, n = choice.table, len(choice.table)
    ids = table[schema.ID].combine_chunks()
    texts = ids.cast(pa.large_binary())
    ends = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False), dtype=np.int64)
    arrays: dict[str, NDArray[Any]] = {
        "idText": np.frombuffer(b"".join(texts.to_pylist()), np.uint8),
        "idEnds": ends.astype(np.uint32),
        "state": _states(table),
    }
    arrays |= _others(table, ids, "of", schema.DUPLICATE_OF, "similarity", schema.SIMILARITY)
    arrays |= _others(table, ids, "nearest", schema.NEAREST_KEPT, "nearestSimilarity", schema.NEAREST_SIMILARITY)
    if schema.CLUSTER in table.column_names and table[schema.CLUSTER].null_count < n:
        arrays["cluster"] = table[schema.CLUSTER].fill_null(-1).to_numpy().astype(np.int32)
        arrays["distance"] = table[schema.DISTANCE].fill_null(0).to_numpy().astype(np.float32)
    references: list[str] = []
    if schema.IN_REFERENCE in table.column_names:
        named = table[schema.IN_REFERENCE].combine_chunks().dictionary_encode()
        references = named.dictionary.to_pylist()
        arrays["reference"] = named.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        arrays["referenceSimilarity"] = table[schema.REFERENCE_SIMILARITY].fill_null(0).to_numpy().astype(np.float32)
    facts: dict[str, Any] = {"references": references, "recorded": schema.DUPLICATE_OF in table.column_names}
    marks: list[tuple[int, str]] = []
    if schema.BY_HAND in table.column_names:
        marked = table[schema.BY_HAND].to_pylist()
        marks = [(row, mark) for row, mark in enumerate(marked) if mark is not None]
        arrays["byHand"] = np.array([{"keep": 1, "never": 2}.get(mark, 0) for mark in marked], np.uint8)
    facts["overrides"] = marks
    if plane is not None and len(plane.x) == n:
        arrays["x"], arrays["y"] = plane.in_steps()
        facts["share"] = plane.share
    for number, column in enumerate(columns):
        arrays[f"column{number}"] = column.codes
    facts["columns"] = [{"name": column.name, "values": list(column.values)} for column in columns]
    if choice.graph is not None:
        of_graph, about = _graph(choice.graph, choice.density, n, most_edges)
        arrays |= of_graph
        facts |= about
    if choice.second is not None:
        of_graph, about = _graph(choice.second.graph, choice.second.density, n, most_edges)
        arrays |= {f"drawn-{name}": array for name, array in of_graph.items()}
        facts["drawn"] = {**about, "fewest": choice.second.fewest}
    facts |= {
        "title": title, "rows": n, "states": STATES, "eta": choice.eta, "notes": list(choice.notes),
        "settings": plain(public(choice.settings)), "fingerprint": choice.fingerprint, **(more or {}),
    }  # fmt: skip
    return packed(facts, arrays)


def _graph(
    graph: NearDuplicateGraph, density: CosineSample | None, rows: int, most_edges: int
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """A graph's arrays, and what is to be known about them, as graph.js has them."""
    edges = Edges.of(graph, rows, most_edges)
    arrays = {"order": edges.order, "starts": edges.starts, "later": edges.later, "cosine": edges.cosine}
    arrays |= {} if density is None else {"stay": density.stay.astype(np.float64)}
    return arrays, {"floor": edges.floor, "groups": edges.groups}


def _states(table: pa.Table) -> NDArray[np.uint8]:
    known = pa.array(STATES)
    states = pc.index_in(table[schema.REASON], known).fill_null(0).to_numpy()
    answer: NDArray[np.uint8] = states.astype(np.uint8)
    return answer


def _others(table: pa.Table, ids: pa.Array, of: str, named: str, how_near: str, cosine: str) -> dict[str, NDArray[Any]]:
    """Rows that others are named by, -1 where none is, and the cosines to them."""
    if named not in table.column_names or table[named].null_count == len(table):
        return {}
    rows = pc.index_in(table[named], ids).fill_null(-1).to_numpy().astype(np.int32)
    rows[table[named].is_null().to_numpy()] = -1
    return {of: rows, how_near: table[cosine].fill_null(0).to_numpy().astype(np.float32)}
