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
from meddel_hf.dedup.pair_engine import PairEngine
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.neighbors.stored_pairs import Pairs
from meddel_hf.runtime.checks import fraction
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.tables import exactly, read_table

DENSITY = "density.parquet"  # in a selection's folder, beside these
_PAIRS, _ORDER = "pairs.parquet", "order.parquet"
_DRAWN = "drawn-"  # before the names of a second step's


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

    def save(self, folder: Path, prefix: str = "") -> None:
        """prefix: of the names of its files."""
        self.pairs.save(folder / f"{prefix}{_PAIRS}")
        group = np.repeat(np.arange(len(self.groups)), [len(g) for g in self.groups])
        with whole_file(folder / f"{prefix}{_ORDER}") as aside:
            pq.write_table(pa.table({"group": group, "row": np.concatenate(self.groups)}), aside)


class StoredGraph(NearDuplicateGraph):
    """The graph in a selection's folder, read when it is first asked: `why` and `filter` do without it.

    sound: gives the path of a file in the folder, once that was found to be as it was written.
    prefix: of the names of its files.
    """

    def __init__(self, sound: Callable[[str], Path], prefix: str = "") -> None:
        self.__dict__ |= {"_sound": sound, "_prefix": prefix}

    @cached_property
    def pairs(self) -> Pairs:
        return Pairs.load(self._path(_PAIRS))

    @cached_property
    def groups(self) -> Sequence[Rows]:
        order = read_table(self._path(_ORDER), exactly(group=pa.int64(), row=pa.int64()))
        group, row = order["group"].to_numpy(), order["row"].to_numpy()
        return np.split(row, np.flatnonzero(np.diff(group)) + 1)

    def _path(self, name: str) -> Path:
        answer: Path = self.__dict__["_sound"](self.__dict__["_prefix"] + name)
        return answer

    @staticmethod
    def is_in(folder: Path, prefix: str = "") -> bool:
        return (folder / f"{prefix}{_PAIRS}").is_file()


@dataclass(frozen=True, eq=False)
class SecondStep:
    """What a second step draws from by Algorithm 1: a graph of the rows that may be drawn, and how dense it is.

    It answers each retention that leaves some of them out, and that keeps as many as there are clusters by default (for
    fewer, clusters would be fewer) and as many as stay at the lowest cosine that the graph answers for.
    """

    graph: NearDuplicateGraph
    density: CosineSample

    @classmethod
    def of(cls, graph: NearDuplicateGraph | None, density: CosineSample | None, drawn: int) -> SecondStep | None:
        """Of what drew so many rows; None where it stored no graph, or one that is about that number of rows alone."""
        if graph is None or density is None:
            return None
        step = cls(graph, density)
        return step if drawn >= step.fewest else None

    @property
    def most(self) -> int:
        """Rows that may be drawn."""
        return sum(map(len, self.graph.groups))

    @cached_property
    def fewest(self) -> int:
        """Rows that must be drawn."""
        from meddel_hf.neighbors.clustering import by_default  # torch, which no other question here needs

        rows = 1 + max(int(group.max()) for group in self.graph.groups)
        at_floor = PairEngine(self.graph.pairs, rows, self.graph.groups).greedy(self.graph.floor)
        return max(by_default(self.most), at_floor.count)

    def decide(self, retention: float, pool: int) -> Decision:
        """Exactly round(retention * pool) rows. Raises InvalidArgument where so many, or so few, cannot be told."""
        fraction("retention", retention)
        asked = f"retention {retention} keeps {round(retention * pool):,} of {pool:,} frames"
        if not self.fewest <= round(retention * pool) <= self.most:
            raise InvalidArgument(
                f"{asked}, and the stored pairs tell what {self.fewest:,} to {self.most:,} would be: select again from "
                "the embeddings"
            )
        try:
            return self.graph.decide(eta=None, retention=retention, pool=pool, density=self.density)
        except InvalidArgument as error:  # so near to the fewest that the search for it looks at lower cosines
            raise InvalidArgument(
                f"{asked}, so few that the stored pairs do not tell which: ask for more, or select again from the "
                "embeddings"
            ) from error

    def save(self, folder: Path) -> None:
        self.graph.save(folder, _DRAWN)
        self.density.save(folder / f"{_DRAWN}{DENSITY}")

    @classmethod
    def load(cls, folder: Path, sound: Callable[[str], Path]) -> SecondStep | None:
        """None where none was stored. sound: as of `StoredGraph`."""
        if not StoredGraph.is_in(folder, _DRAWN):
            return None
        return cls(StoredGraph(sound, _DRAWN), CosineSample.load(sound(f"{_DRAWN}{DENSITY}")))
