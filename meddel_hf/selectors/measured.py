"""One measure for every selector: of each frame that goes, how near is the nearest that is kept?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc

from meddel_hf import schema
from meddel_hf.dedup.larger_than_memory import fits, nearest_kept_of_all
from meddel_hf.embedding.calibration import recorded_calibration
from meddel_hf.embedding.space import Space
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.neighbors.shared import nearest
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import with_nearest
from meddel_hf.selectors.protocol import Readable

_PAIRS = 2**32  # rows that go times rows that stay: two minutes on two cores


@own_threads()
def measured(selection: Selection, store: EmbeddingStore, memory: int | None = None) -> Selection:
    """The selection with the kept row nearest to each readable row that goes, as `Dedup` names it.

    In the space in which the store's near-duplicates are told (that of its `embeddings` where it was not calibrated),
    so that selectors can be compared by it. As it is where it names them already, where nothing goes, and
    where that are more than four thousand million cosines. Rows within reach of a reference set are left alone, since
    nobody wants them covered. memory: bytes; a store that does not fit is read in parts.
    """
    if schema.NEAREST_KEPT in selection.table.column_names:
        return selection
    calibration = recorded_calibration(store)
    space = Space(store.poolings[0], False) if calibration is None else calibration.best.space
    kept = selection.table[schema.KEPT].to_numpy()[store.rows]
    reached = pc.equal(selection.table[schema.REASON], "in-reference").fill_null(False).to_numpy()[store.rows]
    goes, stays = np.flatnonzero(~kept & ~reached), np.flatnonzero(kept)
    if not len(goes) or not len(stays) or len(goes) * len(stays) > _PAIRS:
        return selection
    source = store.reader(space.pooling)
    if memory is None or fits(memory, source):
        vectors = Readable.of(store, space.pooling).vectors(space.subtract_mean)
        where, cosine = nearest(vectors, goes, vectors, stays)
        near = stays[where]
    else:
        ids = store.pool_id_column
        near, cosine = nearest_kept_of_all(
            source, space.subtract_mean, goes, stays, memory, lambda row: str(ids[int(store.rows[row])])
        )
    return replace(selection, table=with_nearest(selection.table, store.rows[goes], store.rows[near], cosine))
