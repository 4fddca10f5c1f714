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
from meddel_hf.errors import IncompleteStore, InvalidArgument, Mismatch
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.manifest import check_recorded
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.tables import read_table
from meddel_hf.runtime.words import plural

FILE = "scores.parquet"
# miou:              mean of the frames' IoU; every frame counts the same (the paper's tables; the default)
# miou-set:          intersections and unions summed over the frames, one IoU a class, then their mean
# dice:              mean of the frames' Dice coefficient 2·I / (I + U)
# accuracy:          share of frames that were told right
# balanced-accuracy: the same in each class, then their mean; every class counts the same
Measure = Literal["miou", "miou-set", "dice", "accuracy", "balanced-accuracy"]
OF_MASKS: tuple[Measure, ...] = ("miou", "miou-set", "dice")

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
class Ratios:
    """A measure as the mean over k parts of a quotient of sums over rows: every measure here has this form.

    above, below: (n, k) float64, of n frames or groups of frames. A part whose lower sum is 0 does not count; where
    none counts, nothing was there and nothing was claimed: the measure is 1, as in `normdel.mean_iou`.
    """

    above: NDArray[np.float64]
    below: NDArray[np.float64]

    def values(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """weights: (B, n), 0 or more. Returns (B,); NaN where all weights are 0."""
        above, below = weights @ self.above, weights @ self.below
        counts = below > 0
        parts = np.divide(above, below, out=np.zeros(below.shape), where=counts).sum(axis=1)
        number = counts.sum(axis=1)
        means = np.where(number > 0, parts / np.maximum(number, 1), 1.0)
        return np.where(weights.any(axis=1), means, np.nan)

    def summed(self, groups: NDArray[np.int64], n_groups: int) -> Ratios:
        """The same measure, a row for each group: groups is (n,), the group of each frame, in 0 ... n_groups - 1."""
        return Ratios(_summed(self.above, groups, n_groups), _summed(self.below, groups, n_groups))


@dataclass(frozen=True, eq=False, repr=False)
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
        self._check_rows()

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        """A line for each measure that can be taken, of each test set."""
        measures = [measure for measure in get_args(Measure) if (measure in OF_MASKS) == self.of_masks]
        lines = [f"Scores of {plural(len(self), 'frame')}"]
        for name in self.sets:
            here = self.of(name)
            lines += [f"{measure:<20}{here.value(measure):.4f}  {name}" for measure in measures]
        return "\n".join(lines)

    @property
    def sets(self) -> list[str]:
        """Names of the test sets, in the order of their first frames."""
        answer: list[str] = pc.unique(self.table[schema.SET]).to_pylist()
        return answer

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

        weights: (B, n), how often each draw holds each frame, 0 or more. Returns (B,) fractions in [0, 1]; NaN of an
        empty draw. Raises InvalidArgument where the measure is of masks and these scores are not, or the other way
        round.
        """
        return self.ratios(measure).values(weights)

    def ratios(self, measure: Measure | None) -> Ratios:
        """What the measure is computed from, frame by frame; the same errors as `values`."""
        measure = measure or self.measure
        if measure not in get_args(Measure):
            raise InvalidArgument(f"measure must be one of {', '.join(get_args(Measure))}, got {measure!r}")
        if (measure in OF_MASKS) != self.of_masks:
            kind = "masks" if self.of_masks else "classes"
            raise InvalidArgument(f"{measure} cannot be taken of {kind}; use {self.measure}")
        if measure == "miou-set":
            return Ratios(self._counts(schema.INTERSECTION), self._counts(schema.UNION))
        if measure == "balanced-accuracy":
            in_class = self._classes()
            return Ratios(in_class * self._score()[:, None], in_class)
        frame = self._dice() if measure == "dice" else self._score()
        return Ratios(frame[:, None], np.ones((len(self), 1)))

    @property
    def of_masks(self) -> bool:
        return bool(self.table[schema.UNION].null_count == 0)

    def write(self, folder: Path) -> None:
        """Write scores.parquet; the measure stands in its metadata."""
        with whole_file(folder / FILE) as aside:
            pq.write_table(self.table.replace_schema_metadata({"measure": self.measure}), aside, compression="zstd")

    @classmethod
    def load(cls, folder: str | Path) -> Scores:
        """Raises IncompleteStore where the folder holds no scores, or damaged ones."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise IncompleteStore(f"{folder} holds no {FILE}: the downstream run that writes it is not finished")
        check_recorded(Path(folder), [FILE])
        table = read_table(path)
        measure = (table.schema.metadata or {}).get(b"measure")
        if measure is None or table.schema.names != COLUMNS.names:
            raise Mismatch(f"{path} was not written by a downstream run: it lacks the columns or the measure of one")
        with intact(path):
            return cls(table.cast(COLUMNS), measure.decode())  # checked there

    def _check_rows(self) -> None:
        table = self.table
        for column in (schema.ID, schema.SET, schema.GROUP, schema.SCORE):
            if table[column].null_count:
                raise InvalidArgument(f"{table[column].null_count} of {len(self)} rows of scores have no {column}")
        repeated = len(self) - len(table.group_by([schema.SET, schema.ID]).aggregate([]))
        if repeated:
            raise InvalidArgument(f"{repeated} of {len(self)} rows of scores repeat a frame of their test set")
        least, most = pc.min_max(table[schema.SCORE]).as_py().values()
        if not (0 <= least <= most <= 1) or pc.any(pc.is_nan(table[schema.SCORE])).as_py():
            raise InvalidArgument(f"scores are fractions in [0, 1], got {least} to {most}, or NaN")
        needed = (schema.INTERSECTION, schema.UNION) if self.measure in OF_MASKS else (schema.LABEL,)
        for column in needed:
            if table[column].null_count:
                raise InvalidArgument(f"{self.measure} needs the {column} of every frame; some have none")

    def _score(self) -> NDArray[np.float64]:
        answer: NDArray[np.float64] = self.table[schema.SCORE].to_numpy().astype(np.float64)
        return answer

    def _counts(self, column: str) -> NDArray[np.float64]:
        """(n, classes)"""
        rows = self.table[column].combine_chunks()
        answer: NDArray[np.float64] = rows.flatten().to_numpy().reshape(len(rows), -1).astype(np.float64)
        return answer

    def _dice(self) -> NDArray[np.float64]:
        """(n,): mean over the classes that occur in the frame; 1 where none does and none was claimed."""
        common, either = self._counts(schema.INTERSECTION), self._counts(schema.UNION)
        occurs = either > 0
        dice = np.divide(2 * common, common + either, out=np.zeros(either.shape), where=occurs)
        return np.where(occurs.any(axis=1), dice.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1), 1.0)

    def _classes(self) -> NDArray[np.float64]:
        """(n, classes): 1 in the column of the frame's class."""
        labels = self.table[schema.LABEL].combine_chunks().dictionary_encode()
        answer: NDArray[np.float64] = np.eye(len(labels.dictionary))[labels.indices.to_numpy()]
        return answer


def _summed(rows: NDArray[np.float64], groups: NDArray[np.int64], n_groups: int) -> NDArray[np.float64]:
    """(n, k) -> (n_groups, k)"""
    return np.stack([np.bincount(groups, column, n_groups) for column in rows.T], axis=1)
