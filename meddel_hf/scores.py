"""`Scores`: what a downstream run says of every tested frame, and the measures that are taken of it.

Intervals need more than a mean: they draw frames anew, many times. A measure is therefore computed from a weight for
every frame, how often the draw holds it, and all draws at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.errors import IncompleteStore, InvalidArgument
from meddel_hf.files import whole_file

FILE = "scores.parquet"
# miou:              mean of the frames' IoU; every frame counts the same (the paper's tables; the default)
# miou-set:          intersections and unions summed over the frames, one IoU a class, then their mean
# dice:              mean of the frames' Dice coefficient 2·I / (I + U)
# accuracy:          share of frames that were told right
# balanced-accuracy: the same in each class, then their mean; every class counts the same
Measure = Literal["miou", "miou-set", "dice", "accuracy", "balanced-accuracy"]
_OF_MASKS = ("miou", "miou-set", "dice")

COLUMNS = pa.schema(
    {
        schema.ID: pa.string(),
        schema.SET: pa.string(),  # which test set, such as "kvasir_seg"
        schema.GROUP: pa.string(),  # frames that are drawn together: a video, a patient, or the frame's own id
        schema.LABEL: pa.string(),  # true class, of a probe; null of masks
        schema.SCORE: pa.float32(),  # in [0, 1]: IoU of the frame, or 1 where a probe is right and 0 where not
        schema.INTERSECTION: pa.list_(pa.int64()),  # pixels of each class but the background; null of a probe
        schema.UNION: pa.list_(pa.int64()),
    }
)


@dataclass(frozen=True, eq=False)
class Scores:
    """One row for every tested frame, columns as in COLUMNS; `measure` is the one that the run was made for."""

    table: pa.Table
    measure: Measure

    def __post_init__(self) -> None:
        if self.measure not in get_args(Measure):
            raise InvalidArgument(f"measure must be one of {', '.join(get_args(Measure))}, got {self.measure!r}")
        if self.table.schema.names != COLUMNS.names:
            raise InvalidArgument(f"scores have the columns {', '.join(COLUMNS.names)}, got {self.table.schema.names}")
        if not len(self.table):
            raise InvalidArgument("scores need at least one tested frame, got none")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def sets(self) -> list[str]:
        """Names of the test sets, in the order of their first frames."""
        return pc.unique(self.table[schema.SET]).to_pylist()

    def of(self, set: str) -> Scores:
        """Only the frames of one test set. Raises InvalidArgument where there is none of that name."""
        if set not in self.sets:
            raise InvalidArgument(f"no test set {set!r}: expected one of {', '.join(self.sets)}")
        return Scores(self.table.filter(pc.equal(self.table[schema.SET], set)), self.measure)

    def value(self, measure: Measure | None = None) -> float:
        """The measure over all frames, a fraction in [0, 1]."""
        return float(self.values(np.ones((1, len(self))), measure)[0])

    def values(self, weights: NDArray[np.floating], measure: Measure | None = None) -> NDArray[np.float64]:
        """The measure of each of B draws.

        weights: (B, n), how often each draw holds each frame. Returns (B,) fractions in [0, 1]; NaN of an empty draw.
        Raises InvalidArgument where the measure is of masks and these scores are not, or the other way round.
        """
        measure = measure or self.measure
        if (measure in _OF_MASKS) != self.of_masks:
            found = "masks" if self.of_masks else "classes"
            raise InvalidArgument(f"{measure} cannot be taken of {found}; use {self.measure}")
        with np.errstate(invalid="ignore", divide="ignore"):
            if measure == "miou-set":
                common, either = weights @ self._counts(schema.INTERSECTION), weights @ self._counts(schema.UNION)
                return np.nanmean(common / either, axis=1)
            if measure == "balanced-accuracy":
                in_class = self._classes()  # (n, classes)
                right = weights @ (in_class * self._score()[:, None])
                return np.nanmean(right / (weights @ in_class), axis=1)
            frame = self._dice() if measure == "dice" else self._score()
            return (weights @ frame) / weights.sum(axis=1)

    @property
    def of_masks(self) -> bool:
        return self.table[schema.UNION].null_count == 0

    def write(self, folder: Path) -> None:
        """Write scores.parquet; the measure stands in its metadata."""
        with whole_file(folder / FILE) as aside:
            pq.write_table(self.table.replace_schema_metadata({"measure": self.measure}), aside, compression="zstd")

    @classmethod
    def load(cls, folder: str | Path) -> Scores:
        """Raises IncompleteStore where the folder holds no scores."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise IncompleteStore(f"{folder} holds no {FILE}: the downstream run that writes it is not finished")
        table = pq.read_table(path)
        return cls(table.cast(COLUMNS), (table.schema.metadata or {})[b"measure"].decode())

    def _score(self) -> NDArray[np.float64]:
        return self.table[schema.SCORE].to_numpy().astype(np.float64)

    def _counts(self, column: str) -> NDArray[np.float64]:
        """(n, classes)"""
        return np.array(self.table[column].to_pylist(), np.float64)

    def _dice(self) -> NDArray[np.float64]:
        """(n,): mean over the classes that occur in the frame; 1 where none does and none was claimed."""
        common, either = self._counts(schema.INTERSECTION), self._counts(schema.UNION)
        occurs = either > 0
        dice = np.divide(2 * common, common + either, out=np.zeros(either.shape), where=occurs)
        return np.where(occurs.any(axis=1), dice.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1), 1.0)

    def _classes(self) -> NDArray[np.float64]:
        labels = self.table[schema.LABEL].combine_chunks().dictionary_encode()
        return np.eye(len(labels.dictionary))[labels.indices.to_numpy()]
