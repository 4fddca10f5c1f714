"""The frames that were embedded, for commands that show or count them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddel_hf.errors import MedDELError

if TYPE_CHECKING:
    from datasets import Dataset

    from meddel_hf.embedding.store import EmbeddingStore


def frames_of(store: EmbeddingStore, spec: str | None) -> tuple[Dataset | None, str]:
    """The data set of `spec`, as --pool gives it, or else where the store says that its frames were; None where that
    cannot be opened, and why not. Raises what `load_pool` raises of a `spec`."""
    from meddel_hf.data.pool import load_pool

    if spec:
        return load_pool(spec), ""
    if store.pool_spec is None:
        return None, "say where the frames are with --pool"
    try:
        return load_pool(store.pool_spec), ""
    except MedDELError as error:
        return None, str(error)
