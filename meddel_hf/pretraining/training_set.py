"""`Choice`: which rows of a pool a run trains on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from meddel_hf.data.ids import as_there
from meddel_hf.data.pool import Pool
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.selection.selection import Selection


@dataclass(frozen=True, eq=False)
class Choice:
    """Which rows of a pool are trained on, if they can be decoded.

    rows: ascending. selected: how many the selection keeps. excluded: how many of them were left out by id.
    """

    pool: Pool
    rows: list[int]
    selected: int
    excluded: int
    parents: dict[str, str]
    digest: str

    @classmethod
    def of(
        cls,
        pool: Pool,
        dataset: Dataset,
        selection: Selection | str | Path | None,
        exclude: Collection[str],
        *,
        trust: bool = False,
    ) -> Choice:
        """trust: as of `Selection.load`.

        Raises Mismatch where the selection is of another pool, InvalidArgument where no frame is left.
        """
        ids: list[str] = pool.ids or []
        parents = {"pool": str(pool.fingerprint)}
        selected = range(len(ids))
        if selection is not None:
            selection = selection if isinstance(selection, Selection) else Selection.load(selection, trust=trust)
            selection.filter(dataset, id_column=pool.id_column)  # raises where the pool is another
            parents["selection"] = selection.fingerprint
            kept = set(selection.kept)
            selected = [row for row, id in enumerate(ids) if id in kept]  # type: ignore[assignment]
        if isinstance(exclude, str):
            raise InvalidArgument(f"exclude is a collection of ids, got one string: {exclude!r}")
        leaks = set(as_there([str(id) for id in exclude], set(ids)))
        rows = [row for row in selected if ids[row] not in leaks]
        if not rows:
            raise InvalidArgument(
                f"no frame is left to train on: {len(selected):,} of {len(ids):,} are selected, and all of those are "
                "excluded: select more, or exclude fewer"
            )
        digest = fingerprint(*sorted(ids[row] for row in rows))
        return cls(pool, rows, len(selected), len(selected) - len(rows), parents, digest)
