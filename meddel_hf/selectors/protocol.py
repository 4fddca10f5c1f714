"""What every selector is: something that answers with a `Selection`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa
from datasets import Dataset, IterableDataset
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.dedup.decision import Decision, rows_for
from meddel_hf.dedup.larger_than_memory import Room, differs
from meddel_hf.embedding.remainder import Remainder
from meddel_hf.embedding.space import Pooling
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, InvalidEmbeddings
from meddel_hf.neighbors.cosines import Rows, Vectors
from meddel_hf.neighbors.row_source import ArrayRows, PickedRows, RowSource
from meddel_hf.neighbors.unit_rows import subtract_mean as minus_mean
from meddel_hf.runtime.devices import searching_on
from meddel_hf.runtime.free_memory import AUTO
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.runtime.sizes import written
from meddel_hf.selection.answer import Origin
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import LeftOut, pool_table, with_digests

log = logging.getLogger(__name__)

OUT_OF_REACH = "readable and out of the reference's reach"


class Selector(Protocol):
    """Chooses rows of a pool by their embeddings."""

    def select(self, embeddings: Embeddings, pool: Dataset | None = None) -> Selection:
        """embeddings: an `EmbeddingStore`, the path of one, a plain (n, d) array, or what a first step left of one.

        pool: the data set that was embedded, for a selector that reads its columns; the others leave it alone.
        """


@dataclass(frozen=True, eq=False)
class PoolRows:
    """The rows of a pool that have an embedding, without the embeddings.

    rows:    (n,) int64, their numbers in the pool, ascending.
    ids:     id of every row of the pool.
    digests: of the bytes of every row's frame, where the store noted them.
    left:    what these rows are, where an earlier step took others away.
    """

    rows: NDArray[np.int64]
    ids: Sequence[str] | pa.ChunkedArray
    origin: Origin
    digests: pa.Array | None = None
    left: str = "readable"

    @staticmethod
    def without_embeddings(embeddings: Embeddings) -> PoolRows:
        """Of what `select` takes; of a store no embedding is read."""
        embeddings = opened(embeddings)
        if isinstance(embeddings, EmbeddingStore):
            return PoolRows(embeddings.rows, embeddings.pool_id_column, **_of_store(embeddings))
        return embeddings if isinstance(embeddings, PoolRows) else Readable.of(embeddings)

    @property
    def id_column(self) -> str:
        """The pool's column that holds the ids."""
        return self.origin.id_column

    @property
    def every_id(self) -> pa.ChunkedArray:
        """Of every row of the pool, string."""
        return self.ids if isinstance(self.ids, pa.ChunkedArray) else pa.chunked_array([self.ids], pa.string())

    @property
    def names(self) -> pa.ChunkedArray:
        """Id of each of these rows, string."""
        return self.every_id.take(pa.array(self.rows))

    def name(self, place: int) -> str:
        """Id of one of these rows."""
        return str(self.ids[int(self.rows[place])])

    def readable(self) -> Readable:
        """With the embeddings in memory."""
        raise InvalidEmbeddings(
            "these rows have no embeddings, and the selector compares them: embed the pool, or draw at random"
        )

    def among(self, places: Rows) -> Self:
        """Some of these rows, by their places among them, ascending; the pool stays as large as it is."""
        return replace(self, rows=self.rows[places])

    def check_any(self) -> None:
        """Raises InvalidEmbeddings where no row has an embedding."""
        check_any(len(self.rows), len(self.ids))

    def rows_to_keep(self, retention: float) -> int:
        """round(retention * pool), for a selector that can keep any readable row; raises InvalidArgument otherwise."""
        self.check_any()
        pool, readable = len(self.ids), len(self.rows)
        if round(retention * pool) > readable:
            raise InvalidArgument(
                f"retention {retention} asks for {round(retention * pool):,} of {pool:,} rows, but only {readable:,} "
                f"are {self.left} (retention {readable / pool:.4f}): ask for less"
            )
        return rows_for(retention, pool, readable)

    def selection(
        self,
        kept: NDArray[np.bool_],
        settings: dict[str, Any],
        cluster: Rows | None = None,
        distance: NDArray[np.float32] | None = None,
    ) -> Selection:
        """What a selector answers that knows no near-duplicates: other readable rows are "not-selected".

        kept, cluster, distance: (n,), of each readable row.
        """
        n = len(kept)
        nobody, nothing = np.full(n, -1, np.int64), np.full(n, -2, np.float32)
        none_is_near = Decision(np.ones(n, bool), nobody, nothing, eta=1.0)
        table = pool_table(self.ids, self.rows, none_is_near, np.zeros(n, bool), cluster, distance, LeftOut(~kept))
        return Selection(with_digests(table, self.digests), settings, self.origin)


@dataclass(frozen=True, eq=False)
class Readable(PoolRows):
    """As `PoolRows`, with the embeddings in memory, (n, d) as stored."""

    embeddings: NDArray[np.floating] = field(kw_only=True)

    @classmethod
    def of(cls, embeddings: Any, pooling: Pooling | None = None) -> Readable:
        """embeddings: what `select` takes; or a Readable, such as the rows that an earlier step left, as it is.

        pooling: of a store, which of its poolings; None: that of its `embeddings`.
        """
        embeddings = opened(embeddings)
        if isinstance(embeddings, PoolRows):
            return embeddings.readable()
        if isinstance(embeddings, EmbeddingStore):
            store = embeddings
            pooled = store.embeddings if pooling is None else store.pooled(pooling)
            return cls(store.rows, store.pool_ids, **_of_store(store), embeddings=pooled)
        array = np.asarray(embeddings)
        if array.ndim != 2:
            raise InvalidEmbeddings(f"embeddings must be a non-empty (n, d) array, got shape {array.shape}")
        content = fingerprint(str(array.shape), str(array.dtype), _bytes_of(array))
        ids = [str(row) for row in range(len(array))]
        return cls(np.arange(len(ids)), ids, Origin(content, row_ids=True), embeddings=array)

    def readable(self) -> Readable:
        return self

    def among(self, places: Rows) -> Self:
        if len(places) == len(self.rows):  # all of them, of which no copy is needed
            return self
        return replace(self, embeddings=self.embeddings[places], rows=self.rows[places])

    def vectors(self, subtract_mean: bool = False, *, copy: bool = True) -> Vectors:
        """The embeddings made ready for cosines; with `subtract_mean`, of the unit rows minus the pool's mean.

        copy: as of `Vectors.prepare`.
        Raises InvalidEmbeddings where there are none, and for rows that are zero or not finite.
        """
        self.check_any()
        base, names = self.embeddings, self.names
        if subtract_mean:
            with searching_on("cpu"):  # a check alone: what is searched is the result
                base = minus_mean(Vectors.prepare(base, names=names, screen="float32").base, names)
        return Vectors.prepare(base, names=names, copy=copy)


@dataclass(frozen=True, eq=False)
class InParts(PoolRows):
    """As `PoolRows`, of a pool whose embeddings do not fit into memory.

    source: reads the embeddings of these rows. room: what there is for whoever chooses among them.
    """

    source: RowSource = field(kw_only=True)
    room: Room = field(kw_only=True)

    @classmethod
    def beyond(
        cls,
        embeddings: Any,
        memory: str | int | None,
        scratch: str | Path | None,
        pooling: Pooling | None = None,
        *,
        draws: bool = False,
    ) -> InParts | None:
        """None of a pool that fits into so much memory, of one without floating numbers, and where no memory is given.

        embeddings: what `select` takes, opened; an `InParts`, whatever `memory` is. pooling: as of `Readable.of`.
        memory:     as of `Room.of`; "auto" is none for processes that share their work. draws: as of `Room.needed`.
        """
        if isinstance(embeddings, InParts):
            return None if embeddings.fits else embeddings
        room, source = Room.of(memory, scratch), _source_of(embeddings, pooling)
        if room is None or source is None or room.fits(source, draws=draws):
            return None
        if memory == AUTO:
            n, d = source.shape
            needed = written(room.needed(source, draws=draws))
            all_at_once = f"{n:,} embeddings of {d} numbers may need {needed} of memory at once"
            if differs(memory):
                log.warning("%s, in each process: give all of them the same --memory, such as 4GB", all_at_once)
                return None
            log.info("%s: they are read in parts, within the %s that are free", all_at_once, written(room.memory))
        rows = PoolRows.without_embeddings(embeddings)
        return cls(rows.rows, rows.ids, rows.origin, rows.digests, rows.left, source=source, room=room)

    def in_first_pooling(self, embeddings: Any) -> Self:
        """The same rows in the pooling of the store's `embeddings`, by which rows are drawn; of an array as they are.

        embeddings: whose rows they are, opened.
        """
        return replace(self, source=embeddings.reader()) if isinstance(embeddings, EmbeddingStore) else self

    @property
    def fits(self) -> bool:
        """Whether they do fit."""
        return self.room.fits(self.source)

    def readable(self) -> Readable:
        """Raises InvalidArgument where they do not fit."""
        if not self.fits:
            n, d = self.source.shape
            raise InvalidArgument(
                f"{n:,} embeddings of {d} numbers do not fit into {written(self.room.memory)}, and this rule compares "
                "them all at once: give more memory (--memory), or draw by a rule that reads them in parts (then: "
                "meddel, random or stratified)"
            )
        embeddings = self.source.read(0, self.source.shape[0])
        return Readable(self.rows, self.ids, self.origin, self.digests, self.left, embeddings=embeddings)

    def among(self, places: Rows) -> Self:
        return replace(self, source=PickedRows(self.source, places), rows=self.rows[places])


def _source_of(embeddings: Any, pooling: Pooling | None) -> RowSource | None:
    """Reads what `select` takes; None of what has no floating numbers, or is refused later on, in words."""
    if isinstance(embeddings, EmbeddingStore):
        return embeddings.reader(pooling)
    if isinstance(embeddings, PoolRows) and not isinstance(embeddings, Readable):
        return None
    array = embeddings.embeddings if isinstance(embeddings, Readable) else np.asarray(embeddings)
    return ArrayRows(array) if array.ndim == 2 and array.dtype in (np.float16, np.float32, np.float64) else None


def _of_store(store: EmbeddingStore) -> dict[str, Any]:
    left = OUT_OF_REACH if isinstance(store, Remainder) else "readable"
    return {"origin": origin_of(store), "digests": store.digests, "left": left}


def origin_of(store: EmbeddingStore) -> Origin:
    """What a selection from a store says that it was made from."""
    return Origin(
        fingerprint=store.pool_fingerprint,
        row_ids=store.row_ids,
        embeddings=store.fingerprint,
        spec=store.pool_spec,
        encoder=store.manifest.arguments.get("encoder"),
        encoder_fingerprint=store.manifest.parents.get("encoder"),
        id_column=store.manifest.arguments.get("id_column") or schema.ID,
        image_column=store.manifest.arguments.get("image_column") or schema.IMAGE,
    )


def check_any(readable: int, rows: int, role: str = "pool") -> None:
    """Raises InvalidEmbeddings where no row of a pool, or of its reference, has an embedding."""
    if not readable:
        what = "nothing to select" if role == "pool" else "nothing to compare with"
        raise InvalidEmbeddings(f"none of the {rows:,} rows of the {role} has an embedding: {what}")


Embeddings = EmbeddingStore | str | Path | NDArray[np.floating] | PoolRows


def marked(n: int, rows: Rows) -> NDArray[np.bool_]:
    """(n,) bool, True at `rows`."""
    result = np.zeros(n, bool)
    result[rows] = True
    return result


def opened(embeddings: Any) -> Any:
    """The store where its path was given; anything else as it is. Raises InvalidEmbeddings where it is none of them."""
    if isinstance(embeddings, str | Path):
        return EmbeddingStore.load(embeddings)
    if not isinstance(embeddings, EmbeddingStore | PoolRows | np.ndarray):
        _check_is_array(embeddings)
    return embeddings


def _check_is_array(given: Any) -> None:
    """Of what may become an array, such as a list of lists of numbers; frames in any form do not."""
    try:
        array = None if isinstance(given, Dataset | IterableDataset) else np.asarray(given)
    except (ValueError, TypeError):  # rows of several lengths, or numbers that numpy does not know
        array = None
    if array is None or array.ndim != 2 or array.dtype.kind not in "biuf":
        raise InvalidEmbeddings(
            f"expected embeddings (a store, its folder, or an (n, d) array), got a {type(given).__name__}: embed the "
            "frames first, embed(frames, encoder, out), and give what that answers; or let Dedup embed them, "
            "Dedup(..., encoder=...).filter(frames)"
        )


def _bytes_of(array: NDArray[Any]) -> memoryview | bytes:
    """As `tobytes`, without a copy of what lies in one piece."""
    if array.dtype.hasobject or not array.size:  # which are refused later on, in words
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
