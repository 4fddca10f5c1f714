"""The stored near-duplicate graph of a pool: it answers every threshold, and every exact retention, above its floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meddel_hf.dedup.decision import Decision, at_count, at_eta, rows_for
from meddel_hf.dedup.density import CosineSample
from meddel_hf.dedup.engines import PairEngine
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import Rows
from meddel_hf.neighbors.pairs import Pairs
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.tables import exactly, read_table

_PAIRS, _ORDER = "pairs.parquet", "order.parquet"


@dataclass(frozen=True, eq=False)
class NearDuplicateGraph:
    """Pairs above a floor, and the groups whose rows are compared, each in keep order; rows are those of the pool."""

    pairs: Pairs
    groups: Sequence[Rows]

    @property
    def floor(self) -> float:
        """Lowest cosine that the graph answers for."""
        return self.pairs.floor

    def decide(self, *, eta: float | None, retention: float | None, pool: int, density: CosineSample) -> Decision:
        """The greedy rule at an eta, or at exactly round(retention * pool) rows; `density` says where to begin."""
        engine = PairEngine(self.pairs, pool, self.groups)
        if (eta is None) == (retention is None):
            raise InvalidArgument(f"give exactly one of eta and retention, got eta={eta}, retention={retention}")
        if eta is not None:
            return at_eta(engine, "greedy", eta)
        assert retention is not None
        return at_count(engine, "greedy", rows_for(retention, pool, sum(map(len, self.groups))), density)

    def save(self, folder: Path) -> None:
        self.pairs.save(folder / _PAIRS)
        group = np.repeat(np.arange(len(self.groups)), [len(g) for g in self.groups])
        with whole_file(folder / _ORDER) as aside:
            pq.write_table(pa.table({"group": group, "row": np.concatenate(self.groups)}), aside)


class StoredGraph(NearDuplicateGraph):
    """The graph in a selection's folder, read when it is first asked: `why` and `filter` do without it.

    sound: gives the path of a file in the folder, once that was found to be as it was written.
    """

    def __init__(self, sound: Callable[[str], Path]) -> None:
        self.__dict__["_sound"] = sound

    @cached_property
    def pairs(self) -> Pairs:
        return Pairs.load(self._path(_PAIRS))

    @cached_property
    def groups(self) -> Sequence[Rows]:
        order = read_table(self._path(_ORDER), exactly(group=pa.int64(), row=pa.int64()))
        group, row = order["group"].to_numpy(), order["row"].to_numpy()
        return np.split(row, np.flatnonzero(np.diff(group)) + 1)

    def _path(self, name: str) -> Path:
        answer: Path = self.__dict__["_sound"](name)
        return answer

    @staticmethod
    def is_in(folder: Path) -> bool:
        return (folder / _PAIRS).is_file()
