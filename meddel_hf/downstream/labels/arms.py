"""What is compared: selectors with their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.downstream.labels.budgets import MOST_DRAWS
from meddel_hf.embedding.calibration import threshold_of
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.runtime import checks
from meddel_hf.selectors.registry import make

RANDOM = "random"


@dataclass(frozen=True)
class Chooser:
    """A selector with its options, under the label that tables show. draws: seeds for each split."""

    label: str
    selector: str
    options: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 1

    def __post_init__(self) -> None:
        checks.count("draws", self.draws, 1, MOST_DRAWS)
        make(self.selector, retention=0.5, **self.options)  # a wrong option is told before any work

    def chosen(self, vectors: NDArray[np.floating], columns: Dataset, frames: int, seed: int) -> NDArray[np.int64]:
        """Row numbers of the frames that are to be labelled, ascending.

        vectors: (n, d), of the frames that may be chosen. columns: n rows, what is known of them before labelling.
        Raises Mismatch where the selector keeps another number of frames.
        """
        selector = make(self.selector, retention=frames / len(vectors), seed=seed, **self.options)
        kept = selector.select(vectors, pool=columns).table[schema.KEPT].to_numpy()
        rows = np.flatnonzero(kept)
        if len(rows) != frames:
            raise Mismatch(f"{self.label} chose {len(rows):,} frames, asked for {frames:,}: a budget is met exactly")
        return rows

    def calibrated(self, store: EmbeddingStore) -> Chooser:
        """The same, with the threshold of near-duplicates that a store was calibrated to where `Dedup` is to find it
        ("auto"): vectors alone do not tell it. It is that of the store's `embeddings`, which are what arms see.

        Raises InvalidArgument where the store was not calibrated, and where the options name another pooling.
        """
        if self.selector != "dedup":
            return self
        seen, options = store.poolings[0], dict(self.options)
        if options.pop("pooling", "auto") not in ("auto", seen):
            raise InvalidArgument(
                f"arm {self.label} asks for pooling {self.options['pooling']}, and where labels are chosen arms see "
                f"pooling {seen}: leave it out, or name another pooling in the plan's embedding"
            )
        if options.get("eta", "auto") == "auto":
            threshold = threshold_of(store, seen, options.get("subtract_mean", "auto"))
            options |= {"eta": threshold.eta, "subtract_mean": threshold.space.subtract_mean}
        return replace(self, options=options)

    def facts(self) -> dict[str, Any]:
        return {"label": self.label, "selector": self.selector, "options": dict(self.options), "draws": self.draws}
