"""What a selection covers, without training: values of a column, distinct scenes, the farthest frame, diversity."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from datasets import ClassLabel, Value
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.data.columns import as_texts
from meddel_hf.selection.answer import Answer

if TYPE_CHECKING:
    from datasets import Dataset

GROUPS = (schema.CENTER, schema.LABEL)  # columns whose values are counted unasked
_MOST = 12  # values that are shown


@dataclass(frozen=True)
class Kept:
    """rows: of each value of a column, most frequent first (equals by name): (value, rows of the pool, rows kept)."""

    column: str
    rows: tuple[tuple[str, int, int], ...]

    @property
    def lost(self) -> list[str]:
        """Values of which nothing is kept."""
        return [value for value, _, kept in self.rows if not kept]

    @property
    def warning(self) -> str | None:
        """A sentence where nothing is kept of some value."""
        if not self.lost:
            return None
        few = ", ".join(map(printable, self.lost[:5])) + (
            f" and {len(self.lost) - 5} more" if len(self.lost) > 5 else ""
        )
        return f"nothing is kept of {self.column} {few}: --min-per {self.column}=1 keeps a frame of each at least"

    def __str__(self) -> str:
        shown = [(printable(value), pool, kept) for value, pool, kept in self.rows[:_MOST]]
        width = max(len(self.column) + 8, *(len(value) + 2 for value, _, _ in shown))
        lines = [f"{'kept of ' + self.column:<{width}}{'pool':>10}{'kept':>10}{'share':>9}"]
        lines += [f"  {value:<{width - 2}}{pool:>10,}{kept:>10,}{kept / pool:>9.2%}" for value, pool, kept in shown]
        if len(self.rows) > _MOST:
            lines.append(f"  and {len(self.rows) - _MOST:,} more, {len(self.lost):,} of all with nothing kept")
        return "\n".join(lines)


def printable(name: str) -> str:
    """A name from the data, safe on a terminal: what is empty, or cannot be printed as it is, is escaped."""
    return name if name.isprintable() and name.strip() else ascii(name)


def kept_of(selection: Answer, pool: Dataset, column: str) -> Kept | None:
    """How much of each value of a column is kept.

    None where the pool has no such column, or it is empty, and where the pool is not the one that was selected from.
    """
    feature = pool.features.get(column)
    if not isinstance(feature, Value | ClassLabel):
        return None
    values = as_texts(pool.with_format(None).select_columns([column])[:][column], feature)
    ids, kept = selection.origin.ids_in(pool), set(selection.kept)
    if ids is None or not kept <= set(ids):
        return None
    in_pool, in_kept = Counter(values), Counter(v for id, v in zip(ids, values, strict=True) if id in kept)
    named = sorted((value for value in in_pool if value is not None), key=lambda value: (-in_pool[value], value))
    return Kept(column, tuple((value, in_pool[value], in_kept[value]) for value in named)) if named else None


def farthest(selection: Answer) -> tuple[str, float] | None:
    """The readable frame that is least like any kept one: (id, cosine to the nearest); None where that is not known.

    Known of a selector that compares every frame that goes with all that are kept.
    """
    names = selection.table.column_names
    column = schema.NEAREST_SIMILARITY if schema.NEAREST_SIMILARITY in names else schema.SIMILARITY
    if column not in names or (column == schema.SIMILARITY and selection.summary.not_selected):
        return None
    known = selection.table.filter(pc.is_valid(selection.table[column]))
    if not len(known):
        return None
    at = int(np.argmin(known[column].to_numpy()))
    return known[schema.ID][at].as_py(), known[column][at].as_py()


def distinct(scenes: Answer, selection: Answer) -> int:
    """How many scenes a selection keeps a frame of. scenes: the first step of `Dedup` on the same pool, alone."""
    ids, of = scenes.table[schema.ID], scenes.table[schema.DUPLICATE_OF]
    scene = pc.if_else(pc.is_valid(of), of, ids)
    return int(pc.count_distinct(scene.filter(selection.table[schema.KEPT])).as_py())


def vendi(vectors: NDArray[np.floating]) -> float:
    """Effective number of distinct rows, in [1, min(n, d)]: the exponential of the entropy of the eigenvalues of their
    cosines, divided by n (Friedman and Dieng, arXiv 2210.02410).

    vectors: (n, d), of unit length.
    """
    gram = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), 4096):
        part = vectors[start : start + 4096].astype(np.float64)
        gram += part.T @ part
    share = np.linalg.eigvalsh(gram / len(vectors)).clip(min=0)
    share = share[share > 1e-12] / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def covered(selection: Answer, pool: Dataset | None) -> list[Kept]:
    """What is kept of each centre and label, where the pool tells them apart."""
    each = [kept_of(selection, pool, column) for column in GROUPS] if pool is not None else []
    return [kept for kept in each if kept is not None and len(kept.rows) > 1]
