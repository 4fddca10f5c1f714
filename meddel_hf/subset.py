"""A data set filtered by a selection: still a `datasets.Dataset`, whose published card says how it was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, IterableDataset

from meddel_hf import schema
from meddel_hf.data.identity import frames_changed, same_pool
from meddel_hf.errors import InvalidDataset, Mismatch

if TYPE_CHECKING:
    from meddel_hf.selection import Selection


class Subset(Dataset):
    """What `Selection.filter` returns. `push_to_hub` adds how the rows were chosen to the data set's card.

    Transformations (`map`, `select`, ...) return a plain Dataset, which no longer is what the selection says.
    """

    selection: Selection

    @classmethod
    def of(cls, dataset: Dataset, selection: Selection) -> Subset:
        subset = cls(dataset.data, dataset.info, dataset.split, dataset._indices, dataset._fingerprint)
        if dataset._format_type is not None:
            subset.set_format(**dataset.format)
        subset.selection = selection
        return subset

    def push_to_hub(self, repo_id: str, *args: Any, **kwargs: Any) -> Any:  # the signature is datasets' own
        """As `Dataset.push_to_hub`; then the card says how the subset was chosen."""
        commit = super().push_to_hub(repo_id, *args, **kwargs)
        from meddel_hf.cards import describe_subset

        describe_subset(self.selection, repo_id, token=kwargs.get("token"), revision=kwargs.get("revision"))
        return commit


def chosen(selection: Selection, dataset: Dataset | IterableDataset, id_column: str) -> Subset | IterableDataset:
    """The rows of `dataset` that `selection` keeps; see `Selection.filter`."""
    if not isinstance(dataset, Dataset | IterableDataset):
        raise InvalidDataset(
            f"expected a datasets.Dataset or IterableDataset, got {type(dataset).__name__}: choose a split of it first"
        )
    if selection.origin.row_ids:
        return _by_row(selection, dataset)
    if dataset.column_names is not None and id_column not in dataset.column_names:
        raise InvalidDataset(
            f"the data set has no column {id_column!r} (it has {', '.join(dataset.column_names)}): "
            "name the column that holds the pool's ids with id_column="
        )
    pool, kept = set(selection.table[schema.ID].to_pylist()), set(selection.kept)
    if isinstance(dataset, IterableDataset):
        return dataset.filter(lambda row: _stays(str(row[id_column]), pool, kept))
    ids = [str(i) for i in dataset.with_format("arrow")[id_column][:].to_pylist()]  # embeddings have them as strings
    unknown = [i for i in ids if i not in pool]
    if unknown or len(ids) != len(pool) or len(set(ids)) != len(pool):
        found = f"{len(ids):,} rows, {len(set(ids)):,} of them with ids of their own"
        if unknown:
            found = f"{len(unknown):,} ids that are not in the pool, such as {unknown[0]!r}"
        raise Mismatch(
            f"the data set is not the pool that this selection was made from ({len(pool):,} rows): it has {found}; "
            "filter the pool itself"
        )
    if frames_changed(dataset, selection.origin.fingerprint):
        raise Mismatch(
            f"frames of this pool changed since they were embedded: the ids are the same and their content is not "
            f"(fingerprint {selection.origin.fingerprint}, now {dataset._fingerprint}): embed the pool again, into "
            "another folder, and select from that"
        )
    return Subset.of(dataset.select([row for row, i in enumerate(ids) if i in kept]), selection)


def _stays(id: str, pool: set[str], kept: set[str]) -> bool:
    if id not in pool:
        raise Mismatch(
            f"the stream holds the id {id!r}, which is not in the pool of this selection ({len(pool):,} "
            "rows): filter the pool itself"
        )
    return id in kept


def _by_row(selection: Selection, dataset: Dataset | IterableDataset) -> Subset:
    if isinstance(dataset, IterableDataset):
        raise Mismatch("this selection's ids are row numbers, which a stream does not have: filter the Dataset itself")
    same = selection.origin.embeddings is None or same_pool(dataset, selection.origin.fingerprint)
    if len(dataset) != len(selection) or not same:
        raise Mismatch(
            f"this selection's ids are row numbers of another data set ({len(selection):,} rows, fingerprint "
            f"{selection.origin.fingerprint}); this one has {len(dataset):,} rows and fingerprint "
            f"{dataset._fingerprint}: filter the very data set that was embedded, or embed one that has an id column"
        )
    kept = np.flatnonzero(selection.table[schema.KEPT].to_numpy())
    return Subset.of(dataset.select(kept), selection)
