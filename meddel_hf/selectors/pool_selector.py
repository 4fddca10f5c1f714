"""What this package's selectors have in common: `select`, with or without a reference set and a person's marks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from meddel_hf.embedding.space import Space
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.devices import searching_on
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors.by_hand import Overrides, decided_by_hand
from meddel_hf.selectors.protocol import Embeddings
from meddel_hf.selectors.reference import Eta, selected_beside

if TYPE_CHECKING:
    from datasets import Dataset


class PoolSelector(ABC):
    """What this package's selectors have in common: `select`, with or without a reference set."""

    def select(
        self,
        embeddings: Embeddings,
        pool: Dataset | None = None,
        *,
        reference: Embeddings | None = None,
        reference_eta: Eta = "auto",
        overrides: Overrides | str | Path | None = None,
        device: str = "auto",
    ) -> Selection:
        """Choose rows by their embeddings.

        embeddings:    an `EmbeddingStore`, the path of one, or a plain (n, d) array.
        pool:          the data set that was embedded, for a selector that reads its columns; the others need none.
        reference:     frames that must not be selected, as embeddings like those of the pool: rows of the pool within
                       reach of one of them go first, as "in-reference". A retention is still of the whole pool.
        reference_eta: the cosine above which a row is within reach, in [-1, 1]; "auto", the threshold that mild copies
                       calibrated in the pool's store.
        overrides:     frames that a person decided on, or the file of `meddel explore` that says so: those that are
                       always kept stay, and near-duplicates of them go for them; those that never are go as
                       "set-aside". A retention counts them.
        device:        where to search, "auto", "cpu", "cuda" and so on; the answer is the same.

        Raises InvalidEmbeddings for rows that are zero or not finite; InvalidArgument where more rows are asked for
        than can be kept, and for "auto" where the embeddings were not calibrated; Mismatch for a reference of another
        encoder, pooling or view.
        """
        if reference is None and reference_eta != "auto":
            raise InvalidArgument(
                f"reference_eta {reference_eta} goes with a reference, and there is none: leave it out"
            )
        with searching_on(device):
            if overrides is None:
                return self._beside(embeddings, pool, reference, reference_eta)
            marks = overrides if isinstance(overrides, Overrides) else Overrides.read(overrides)
            return decided_by_hand(
                self, lambda mine, left: mine._beside(left, pool, reference, reference_eta), embeddings, marks
            )

    def near_duplicates(self, embeddings: Embeddings) -> tuple[float, Space] | None:
        """The cosine above which two rows are near-duplicates, and the space; None of a selector that knows none
        before it has chosen."""
        return None

    def _beside(
        self, embeddings: Embeddings, pool: Dataset | None, reference: Embeddings | None, reference_eta: Eta
    ) -> Selection:
        if reference is None:
            return self._choose(embeddings, pool)
        return selected_beside(self._choose, embeddings, pool, reference, reference_eta)

    @abstractmethod
    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        """The selector's own answer."""
