"""Random: the baseline that every selector has to beat."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, PoolRows, marked

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Random(PoolSelector):
    """Rows drawn uniformly without replacement, whatever their embeddings hold.

    retention: share of the pool to keep, met exactly: round(retention * n) of the rows that have an embedding. (0, 1].
    seed:      of the draw. With one seed, a lower retention keeps a part of what a higher one keeps.
    """

    retention: float
    seed: int = 0

    def __post_init__(self) -> None:
        checks.common(self)

    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        readable = PoolRows.without_embeddings(embeddings)
        target, n = readable.rows_to_keep(self.retention), len(readable.rows)
        drawn = np.random.default_rng(self.seed).permutation(n)[:target]
        return readable.selection(marked(n, drawn), {"selector": "random", **asdict(self)})
