"""What every selector is: something that answers with a `Selection`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.errors import InvalidEmbeddings
from meddel_hf.selection import Origin, Selection
from meddel_hf.store import EmbeddingStore

Embeddings = EmbeddingStore | str | Path | NDArray[np.floating]


class Selector(Protocol):
    """Chooses rows of a pool by their embeddings."""

    def select(self, embeddings: Embeddings) -> Selection:
        """embeddings: an `EmbeddingStore`, the path of one, or a plain (n, d) array."""


@dataclass(frozen=True, eq=False)
class Readable:
    """The rows of a pool that have an embedding.

    embeddings: (n, d), as stored.
    rows:       (n,) int64, their numbers in the pool, ascending.
    ids:        id of every row of the pool.
    """

    embeddings: NDArray[np.floating]
    rows: NDArray[np.int64]
    ids: Sequence[str]
    origin: Origin

    @classmethod
    def of(cls, embeddings: Any) -> Readable:
        if isinstance(embeddings, str | Path):
            embeddings = EmbeddingStore.load(embeddings)
        if isinstance(embeddings, EmbeddingStore):
            store = embeddings
            origin = Origin(
                fingerprint=store.pool_fingerprint,
                row_ids=store.row_ids,
                embeddings=store.fingerprint,
                spec=store.pool_spec,
                encoder=store.manifest.arguments.get("encoder"),
                encoder_fingerprint=store.manifest.parents.get("encoder"),
            )
            return cls(store.embeddings, store.rows, store.pool_ids, origin)
        array = np.asarray(embeddings)
        if array.ndim != 2:
            raise InvalidEmbeddings(f"embeddings must be a non-empty (n, d) array, got shape {array.shape}")
        content = schema.fingerprint(str(array.shape), str(array.dtype), np.ascontiguousarray(array).tobytes())
        ids = [str(row) for row in range(len(array))]
        return cls(array, np.arange(len(ids)), ids, Origin(content, row_ids=True))
