"""`Selection`: a selector's answer that filters the pool, and that can be published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meddel_hf.explore.explored import explored
from meddel_hf.selection.answer import Answer
from meddel_hf.selection.card import push_selection
from meddel_hf.selection.subset import Subset, chosen

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from meddel_hf.data.given import Frames
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.explore.explorer import Page


@dataclass(frozen=True, eq=False, repr=False)
class Selection(Answer):
    """Which rows of a pool stay, which go, why, and for whom; see `Answer` for what it holds."""

    def filter(self, dataset: Frames, *, id_column: str | None = None) -> Subset | IterableDataset:
        """The rows of `dataset` that are kept, in its order; joined on ids, never on row numbers, where it has ids.

        dataset:   the pool, in any form that `embed` takes. Without an id column the paths of its files tell the ids,
                   as where `load_dataset("imagefolder", data_dir=...)` opened the folder that was embedded.
        id_column: its column of ids; by default the one that was embedded, or "id".

        Raises Mismatch where it is not the pool that the selection was made from, InvalidDataset where neither a column
        nor paths tell its ids.
        """
        return chosen(self, dataset, id_column)

    def explore(
        self,
        pool: Dataset | str | None = None,
        *,
        embeddings: EmbeddingStore | str | Path | None = None,
        title: str = "a selection",
    ) -> Page:
        """A page on which the selection can be looked at: a notebook shows it; `save` and `open` write it.

        pool:       the data set whose frames are shown, or what `meddel embed` calls a pool; None: that which the
                    selection says that it was made from; without one, the page shows no frames.
        embeddings: what was selected from, for the map of the pool; None: no map.

        Raises InvalidArgument for more than 20,000 frames, which `meddel explore` shows; Mismatch for another pool or
        other embeddings.
        """
        return explored(self, pool, embeddings, title).page()

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        hash_ids: str | Path | None = None,
    ) -> str:
        """Publish the selection (which rows, and why) as a data set of its own; returns its address.

        hash_ids: file of the key by which ids are hashed, made where there is none.
        """
        return push_selection(self, repo_id, private=private, token=token, hash_ids=hash_ids)
