"""How dense near-duplicates are, from a few rows' exact cosines: it says where a search starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from meddel_hf.errors import IncompleteStore
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.reading import CURE
from meddel_hf.runtime.tables import exactly, read_table

BINS = 1024  # over cosines from -1 to 1
_EDGES = -1 + np.arange(BINS + 1) * (2 / BINS)


@dataclass(frozen=True, eq=False)
class CosineSample:
    """Two curves over eta (1,025 edges from -1 to 1), from the exact cosines of at most 256 evenly spaced rows.

    stay:  (1025,) float64, estimated rows that a greedy pass keeps, the sum of 1 / (1 + neighbours) (Caro; Wei).
    pairs: (1025,) float64, estimated pairs at or above the edge.
    """

    stay: NDArray[np.float64]
    pairs: NDArray[np.float64]

    def kept(self, eta: float) -> float:
        """Estimated number of rows that a greedy pass keeps."""
        return float(self.stay[_edge(eta)])

    def pairs_above(self, eta: float) -> float:
        """Estimated number of pairs above eta."""
        return float(self.pairs[_edge(eta)])

    def share_above(self, eta: float) -> float:
        """Estimated share of the compared pairs that are above eta."""
        return self.pairs_above(eta) / max(1.0, float(self.pairs[0]))

    def eta_for(self, kept: float) -> float:
        """The greatest edge at which `kept` rows stay at most, in [-1, 1]."""
        return float(_EDGES[max(0, int(np.searchsorted(self.stay, kept, side="right")) - 1)])

    def floor_for(self, pairs: float) -> float:
        """The lowest edge with at most so many pairs at or above it, in [-1, 1]."""
        return float(_EDGES[min(BINS, int(np.searchsorted(-self.pairs, -pairs, side="left")))])

    def save(self, path: Path) -> None:
        with whole_file(path) as aside:
            pq.write_table(pa.table({"eta": _EDGES, "stay": self.stay, "pairs": self.pairs}), aside)

    @classmethod
    def load(cls, path: Path) -> CosineSample:
        table = read_table(path, exactly(stay=pa.float64(), pairs=pa.float64()))
        if len(table) != len(_EDGES):
            raise IncompleteStore(f"{path} is damaged ({len(table):,} rows, expected {len(_EDGES):,}): {CURE}")
        return cls(table["stay"].to_numpy(), table["pairs"].to_numpy())


def _edge(eta: float) -> int:
    return int(np.ceil((np.clip(eta, -1, 1) + 1) * (BINS / 2)))
