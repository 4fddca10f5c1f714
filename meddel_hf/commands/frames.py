"""The frames that were embedded, for commands that show or count them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddel_hf.errors import InvalidDataset, MedDELError, Mismatch

if TYPE_CHECKING:
    from datasets import Dataset

    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.selectors.protocol import PoolRows


def frames_of(store: EmbeddingStore, spec: str | None) -> tuple[Dataset | None, str]:
    """The data set of `spec`, as --pool gives it, or else where the store says that its frames were; None where that
    cannot be opened or is another one now, and why not. Raises what `load_pool` raises of a `spec`, and Mismatch or
    InvalidDataset where it is not the pool that was embedded."""
    from meddel_hf.selectors.protocol import PoolRows

    pool_rows = PoolRows.without_embeddings(store)  # first: a damaged store is no reason to go on without its pool
    if not spec and store.pool_spec is None:
        return None, "say where the frames are with --pool"
    if spec:
        return _embedded(store, pool_rows, spec), ""
    assert store.pool_spec is not None
    try:
        return _embedded(store, pool_rows, store.pool_spec), ""
    except MedDELError as error:
        return None, str(error)


def _embedded(store: EmbeddingStore, readable: PoolRows, spec: str) -> Dataset:
    import numpy as np

    from meddel_hf.data.identity import frames_changed
    from meddel_hf.data.pool import load_pool
    from meddel_hf.selectors.strata import rows_in

    pool = load_pool(spec)
    column = readable.origin.image_column
    if column not in pool.column_names:
        raise InvalidDataset(
            f"{spec} has no column {column!r} with the frames that were embedded; it has "
            f"{', '.join(pool.column_names)}: name the pool that was embedded"
        )
    in_place = np.array_equal(rows_in(pool, readable), readable.rows) and len(pool) == len(readable.ids)
    if in_place and frames_changed(pool, store.pool_fingerprint):
        raise Mismatch(
            f"frames of {spec} changed since they were embedded into {store.folder}: embed them again, into another "
            "folder"
        )
    return pool
