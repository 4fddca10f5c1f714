"""One measure for every selector: of each frame that goes, how near is the nearest that is kept?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meddel_hf import schema
from meddel_hf.embedding.calibration import Calibration
from meddel_hf.embedding.space import Space
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.neighbors.cosines import nearest
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import with_nearest
from meddel_hf.selectors.protocol import Readable

_PAIRS = 2**32  # rows that go times rows that stay: two minutes on two cores


@own_threads()
def measured(selection: Selection, store: EmbeddingStore) -> Selection:
    """The selection with the kept row nearest to each readable row that goes, as `Dedup` names it.

    In the space in which the store's near-duplicates are told (that of its `embeddings` where it was not calibrated),
    so that selectors can be compared by it. As it is where it names them already, where nothing goes, and
    where that are more than four thousand million cosines. Rows within reach of a reference set are left alone, since
    nobody wants them covered.
    """
    if schema.NEAREST_KEPT in selection.table.column_names:
        return selection
    facts = store.manifest.details.get("calibration")
    space = Space(store.poolings[0], False) if facts is None else Calibration.recorded(facts).best.space
    readable = Readable.of(store, space.pooling)
    kept = selection.table[schema.KEPT].to_numpy()[readable.rows]
    reason = np.asarray(selection.table[schema.REASON].to_pylist(), object)[readable.rows]
    goes, stays = np.flatnonzero(~kept & (reason != "in-reference")), np.flatnonzero(kept)
    if not len(goes) or not len(stays) or len(goes) * len(stays) > _PAIRS:
        return selection
    vectors = readable.vectors(space.subtract_mean)
    where, cosine = nearest(vectors, goes, vectors, stays)
    return replace(
        selection, table=with_nearest(selection.table, readable.rows[goes], readable.rows[stays[where]], cosine)
    )
