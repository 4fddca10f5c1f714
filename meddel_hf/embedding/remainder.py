"""A store without some of its rows, for whoever is to choose among the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from meddel_hf.embedding.space import Pooling
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.neighbors.row_source import PickedRows, RowSource


@dataclass(frozen=True, eq=False, repr=False)
class Remainder(EmbeddingStore):
    """What `whole` holds of some of its readable rows; the others are as if they had no embedding.

    The pool stays as large as it is, with all its ids, and the calibration is that of the whole. No file is written.

    whole:  the store.
    places: (m,) int64, ascending: those of its readable rows that are left.
    """

    whole: EmbeddingStore = field(kw_only=True)
    places: NDArray[np.int64] = field(kw_only=True)

    @classmethod
    def of(cls, whole: EmbeddingStore, places: NDArray[np.int64]) -> Remainder:
        return cls(whole.folder, whole.manifest, whole.trust, whole=whole, places=places)

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        return self.whole.rows[self.places]

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        return self._read(self.poolings[0])

    @cached_property
    def thumbnails(self) -> NDArray[np.uint8] | None:
        return None if self.whole.thumbnails is None else self.whole.thumbnails[self.places]

    def thumbnails_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.whole.thumbnails_of(self.places[rows])

    @cached_property
    def sizes(self) -> NDArray[np.int64] | None:
        return None if self.whole.sizes is None else self.whole.sizes[self.places]

    def reader(self, pooling: Pooling | None = None) -> RowSource:
        return PickedRows(self.whole.reader(pooling), self.places)

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        return self._read("mean")

    def _read(self, pooling: Pooling) -> NDArray[np.float32]:
        """These rows alone: the whole need not be in memory."""
        return self.reader(pooling).read(0, len(self)).astype(np.float32, copy=False)
