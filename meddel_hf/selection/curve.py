"""Retention over eta, in the shape of the paper's Table 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from meddel_hf.selection.notebook import table
from meddel_hf.selection.selection import Selection

_HEADS = ("eta", "images", "retention", "epochs")
_EPOCHS_OF_ALL = 200  # the paper's Table 2: so many epochs of the whole pool


@dataclass(frozen=True, eq=False)
class Curve:
    """One selection for each eta, ascending."""

    selections: tuple[Selection, ...]

    def __iter__(self) -> Iterator[Selection]:
        return iter(self.selections)

    def __len__(self) -> int:
        return len(self.selections)

    @property
    def table(self) -> pa.Table:
        """Columns eta, images, retention, and the epochs that train as long as 200 of the whole pool (Table 2)."""
        summaries = [selection.summary for selection in self.selections]
        return pa.table(
            {
                "eta": [s.eta for s in summaries],
                "images": [s.kept for s in summaries],
                "retention": [s.retention for s in summaries],
                "outliers": [s.outliers for s in summaries],
                "near_duplicates": [s.near_duplicates for s in summaries],
                "epochs": [round(_EPOCHS_OF_ALL / s.retention) for s in summaries],
            }
        )

    def _repr_html_(self) -> str:
        return table(_HEADS, self._rows())

    def __str__(self) -> str:
        lines = [_HEADS, *self._rows()]
        return "\n".join(f"{eta:>8}{images:>12}{share:>12}{epochs:>9}" for eta, images, share, epochs in lines)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [
            (f"{row['eta']:.4g}", f"{row['images']:,}", f"{row['retention']:.2%}", f"{row['epochs']:,}")
            for row in self.table.to_pylist()
        ]
