"""The same measures for every selector: of each frame that goes, how near is the nearest that is kept; and how much
the kept ones differ."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.dedup.larger_than_memory import Room, differs, nearest_kept_of_all
from meddel_hf.embedding.calibration import recorded_calibration
from meddel_hf.embedding.space import Space
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidEmbeddings
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.neighbors.row_source import PickedRows, RowSource, blocks
from meddel_hf.neighbors.shared import nearest
from meddel_hf.neighbors.unit_rows import MeanSubtracted, Survey
from meddel_hf.runtime.free_memory import AUTO
from meddel_hf.runtime.spacing import evenly_spaced
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.measures import Measures, covered, farthest, sequences, vendi
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import with_nearest
from meddel_hf.selectors.protocol import Readable

if TYPE_CHECKING:
    from datasets import Dataset

_PAIRS = 2**32  # rows that go times rows that stay: two minutes on two cores
_AT_ONCE = 2**13  # rows of a store, held in memory beside those that are asked for
_MOST = 2**16  # rows, evenly spaced, whose diversity is taken: of some hundred numbers each, more change nothing


@own_threads()
def measured(selection: Selection, store: EmbeddingStore, memory: str | int | None = AUTO) -> Selection:
    """The selection with the kept row nearest to each readable row that goes, as `Dedup` names it.

    In the space in which the store's near-duplicates are told (that of its `embeddings` where it was not calibrated),
    so that selectors can be compared by it. As it is where it names them already, where nothing goes, and
    where that are more than four thousand million cosines. Rows within reach of a reference set, and those set aside
    by hand, are left alone, since nobody wants them covered. memory: as of `Dedup`.
    """
    if schema.NEAREST_KEPT in selection.table.column_names:
        return selection
    calibration = recorded_calibration(store)
    space = Space(store.poolings[0], False) if calibration is None else calibration.best.space
    kept = _kept_places(selection, store)
    nobody_wants = pa.array(["in-reference", "set-aside"])
    reached = pc.is_in(selection.table[schema.REASON], nobody_wants).to_numpy()[store.rows]
    goes, stays = np.flatnonzero(~kept & ~reached), np.flatnonzero(kept)
    if not len(goes) or not len(stays) or len(goes) * len(stays) > _PAIRS:
        return selection
    source, room = store.reader(space.pooling), None if differs(memory) else Room.of(memory)
    if room is None or room.fits(source):
        vectors = Readable.of(store, space.pooling).vectors(space.subtract_mean)
        where, cosine = nearest(vectors, goes, vectors, stays)
        near = stays[where]
    else:
        ids = store.pool_id_column
        near, cosine = nearest_kept_of_all(
            source, space.subtract_mean, goes, stays, room, lambda row: str(ids[int(store.rows[row])])
        )
    return replace(selection, table=with_nearest(selection.table, store.rows[goes], store.rows[near], cosine))


@own_threads()
def directions(store: EmbeddingStore, places: Rows | None = None) -> NDArray[np.float32]:
    """(n, d) the readable rows of a store at some places, ascending, or all, of length 1, in the space in which
    diversity is measured.

    Mean pooling where the store has it, with the pool's mean (of 65,536 of its rows where there are more) subtracted,
    unless that leaves nothing of a row.
    """
    source = store.reader("mean" if "mean" in store.poolings else None)
    n = source.shape[0]
    mean = Survey.of(PickedRows(source, evenly_spaced(n, _MOST)), _AT_ONCE, str).mean
    some = PickedRows(source, np.arange(n) if places is None else places)
    try:
        return _unit_rows(MeanSubtracted(some, mean))
    except InvalidEmbeddings:  # a row is the pool's mean
        return _unit_rows(some)


def _unit_rows(source: RowSource) -> NDArray[np.float32]:
    survey = Survey.of(source, _AT_ONCE, str, sums=False)
    answer = np.empty(source.shape, np.float32)
    for start, rows in blocks(source, _AT_ONCE):
        answer[start : start + len(rows)] = survey.unit(rows)
    return answer


def effective(rows: NDArray[np.float32]) -> float:
    """Effective number of distinct rows (`vendi`), of 65,536 of them where there are more."""
    return vendi(rows[evenly_spaced(len(rows), _MOST)])


def effective_kept(selection: Selection, store: EmbeddingStore) -> float:
    """Effective number of the frames that are kept; of 65,536 of them where there are more."""
    return effective_of(store, np.flatnonzero(_kept_places(selection, store)))


def effective_of(store: EmbeddingStore, places: Rows) -> float:
    """`effective` of the readable rows of a store at some places, ascending; no other is held in memory."""
    return vendi(directions(store, places[evenly_spaced(len(places), _MOST)]))


def measures(
    selection: Selection, store: EmbeddingStore, pool: Dataset, among: NDArray[np.float32], of_pool: float
) -> Measures:
    """All that is measured of a selection without training.

    pool: what was embedded. among: `directions` of the store. of_pool: `effective` of those.
    """
    columns = {kept.column: kept.values for kept in covered(selection, pool)}
    return Measures(
        sequences(selection, pool), columns.get(schema.LABEL), columns.get(schema.CENTER),
        farthest(measured(selection, store)), effective(among[_kept_places(selection, store)]), of_pool,
    )  # fmt: skip


def _kept_places(selection: Selection, store: EmbeddingStore) -> NDArray[np.bool_]:
    """(n,) of the store's readable rows, those that are kept."""
    kept: NDArray[np.bool_] = selection.table[schema.KEPT].to_numpy()[store.rows]
    return kept
