"""From a selection to its explorer: the frames are found, and the map is made of the embeddings."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset

from meddel_hf.data.given import one_split
from meddel_hf.data.pool import load_pool
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import MedDELError, Mismatch
from meddel_hf.explore.contents import Choice
from meddel_hf.explore.explorer import Explorer
from meddel_hf.explore.plane import Plane


def explored(
    choice: Choice, pool: Dataset | str | None, embeddings: EmbeddingStore | str | Path | None, title: str
) -> Explorer:
    """See `Selection.explore`. Raises Mismatch for another pool than was selected from, or other embeddings."""
    dataset, why_not = frames_of(choice, pool)
    return Explorer(choice, title, dataset, None if embeddings is None else plane_of(choice, embeddings), why_not)


def frames_of(choice: Choice, pool: Dataset | str | None) -> tuple[Dataset | None, str]:
    """The pool, and no words; or None, and why the one that the selection names is not at hand.

    Raises Mismatch, or what `load_pool` raises, of a pool that was named.
    """
    origin = choice.origin
    if pool is None and origin.spec is None:
        return None, "nothing says where they are"
    try:
        dataset = one_split(load_pool(str(pool or origin.spec)) if isinstance(pool, str | Path | None) else pool)
        ids = origin.ids_in(dataset, choice.ids)
        if ids is None or not set(choice.ids) & set(ids):
            raise Mismatch("the pool is not the one that was selected from: name that one")
    except MedDELError as error:
        if pool is not None:
            raise
        return None, str(error)
    return dataset, ""


def plane_of(choice: Choice, embeddings: EmbeddingStore | str | Path) -> Plane:
    """The map of the embeddings that a selection was made from. Raises Mismatch for others."""
    store = embeddings if isinstance(embeddings, EmbeddingStore) else EmbeddingStore.load(embeddings)
    if choice.origin.embeddings not in (None, store.fingerprint) or len(store.pool_id_column) != len(choice.ids):
        raise Mismatch(f"the selection was not made from {store.folder}: name the embeddings that it was made from")
    return Plane.of(store)
