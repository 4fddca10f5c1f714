"""An embedding store without some of its rows: as embedding the pool without those frames, but for the copies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from meddel_hf.data.identity import frames_fingerprint
from meddel_hf.embedding.calibration import calibrate
from meddel_hf.embedding.carried import Carried
from meddel_hf.embedding.copies import Copies
from meddel_hf.embedding.store import EmbeddingStore, StoreWriter
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.manifest import fingerprint


def without(store: EmbeddingStore, ids: Collection[str], out: Path) -> EmbeddingStore:
    """Write the store without the rows of these ids, none of which need be there, to the empty folder `out`.

    Mild copies of those frames go too, and thresholds are calibrated anew by the others. A store whose ids are row
    numbers numbers its rows anew. Raises InvalidArgument where nothing would be left.
    """
    stays = np.array([row for row, id in enumerate(store.pool_ids) if id not in ids], np.int64)
    if not len(stays):
        raise InvalidArgument(f"all rows of {store.folder} would be removed: delete the folder instead")
    left = [store.pool_ids[row] for row in stays]
    names = [str(row) for row in range(len(left))] if store.row_ids else left
    arguments = store.manifest.arguments
    parents = {**store.manifest.parents, "pool": _pool_fingerprint(store, stays, names)}
    writer = StoreWriter.begin(out, arguments, parents)
    carried, rows = Carried(store, stays), int(arguments.get("shard_rows", 4096))
    for index in range(-(-len(stays) // rows)):
        start, stop = index * rows, min((index + 1) * rows, len(stays))
        shard = carried.part(start, stop).as_shard(index, names[start:stop])
        writer.write(shard if store.digests is not None else replace(shard, digests=None))
    smaller = writer.finish(dim=store.dim, row_ids=store.row_ids)
    manifest = replace(smaller.manifest, versions=store.manifest.versions).write(out)
    smaller = EmbeddingStore(out, manifest)
    if store.copies is not None:
        copies = _copies(store.copies, stays)
        if (calibration := calibrate(smaller, copies)) is not None:
            smaller = smaller.with_copies(copies, calibration.plain())
    return smaller


def _pool_fingerprint(store: EmbeddingStore, stays: np.ndarray, names: list[str]) -> str:
    """That of the data set without those frames, where it is known; else one of its own."""
    digests = None if store.digests is None else store.digests.take(pa.array(stays))
    if digests is None or digests.null_count or not store.pool_fingerprint.startswith("frames-"):
        return "without-" + fingerprint(store.pool_fingerprint, *names)
    return frames_fingerprint(names, (digest.hex() for digest in digests.to_pylist()))


def _copies(copies: Copies, stays: np.ndarray) -> Copies:
    left = copies.among(stays)
    return replace(left, row=np.searchsorted(stays, left.row))
