"""What is compared: selectors with their options, and how many frames they may choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.runtime import checks
from meddel_hf.runtime.reading import shown
from meddel_hf.selectors.registry import make

Budget = int | float
RANDOM = "random"


@dataclass(frozen=True)
class Chooser:
    """A selector with its options, under the label that tables show. draws: seeds for each split."""

    label: str
    selector: str
    options: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 1

    def __post_init__(self) -> None:
        checks.count("draws", self.draws, 1, 1000)
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

    def facts(self) -> dict[str, Any]:
        return {"label": self.label, "selector": self.selector, "options": dict(self.options), "draws": self.draws}


def check_budget(budget: Any) -> None:
    """A whole number of frames, 2 at least, or a share of the pool in (0, 1)."""
    is_share = checks.is_number(budget) and 0 < budget < 1
    if not is_share and not (checks.is_whole(budget) and budget >= 2):
        raise InvalidArgument(
            f"a budget is a number of frames, 2 at least, or a share of the pool between 0 and 1; got {shown(budget)}"
        )


def frames_of(budget: Budget, pool: int) -> int:
    """How many of `pool` frames a budget is. Raises InvalidArgument for fewer than 2, and for more than there are."""
    frames = budget if isinstance(budget, int) else round(budget * pool)
    if not 2 <= frames <= pool:
        raise InvalidArgument(
            f"a budget of {named(budget)} is {frames:,} of {pool:,} frames that may be chosen: expected 2 at least, "
            "and no more than there are"
        )
    return frames


def named(budget: Budget) -> str:
    """ "16", "10%": as tables show it, and as text that is told apart."""
    return str(budget) if isinstance(budget, int) else f"{100 * budget:g}%"
