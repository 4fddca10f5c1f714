"""RandomStratified: at random, but every centre keeps its share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meddel_hf import schema
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, PoolRows, marked
from meddel_hf.selectors.quotas import quotas
from meddel_hf.selectors.strata import numbered, strata

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class RandomStratified(PoolSelector):
    """Rows drawn uniformly within strata, each of which keeps its share of the pool.

    retention: share of the pool to keep, met exactly: round(retention * n) of the rows that have an embedding. (0, 1].
    seed:      of the draw.
    by:        columns of the pool; the first that is not null names a row's stratum, and rows with none of them form
               a stratum of their own. One name, such as "label", or several; "folder" is that of a frame whose id is
               a path, where the pool has no such column.

    Shares are in proportion to the strata's readable rows, made whole by largest remainders (equals: the stratum whose
    name sorts first); but where there are rows enough, each stratum keeps one at least.
    """

    retention: float
    seed: int = 0
    by: str | Sequence[str] = (schema.CENTER, schema.SOURCE)

    def __post_init__(self) -> None:
        checks.common(self)
        checks.columns("by", self.by)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)

    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        """Draw from an `EmbeddingStore`, the path of one, or a plain (n, d) array.

        pool: the data set that was embedded; None opens the one that the store names. Joined on ids; a plain array, and
              a store of a data set without ids, on row numbers.
        Raises InvalidDataset where the pool cannot be opened or lacks a column, Mismatch where it is another one.
        """
        readable = PoolRows.without_embeddings(embeddings)
        target, n = readable.rows_to_keep(self.retention), len(readable.rows)
        stratum, size = numbered(strata(readable, pool, self.columns))
        quota = quotas(target * size / n, size, target)
        drawn = np.random.default_rng(self.seed).permutation(n)
        by_stratum = drawn[np.argsort(stratum[drawn], kind="stable")]
        first = np.cumsum(size) - size
        rows = [by_stratum[start : start + count] for start, count in zip(first, quota, strict=True)]
        settings = {
            "selector": "random-stratified", "retention": self.retention, "seed": self.seed, "by": list(self.columns)
        }  # fmt: skip
        return readable.selection(marked(n, np.concatenate(rows)), settings)
