"""A data set filtered by a selection: still a `datasets.Dataset`, whose published card says how it was chosen."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Image, IterableDataset
from datasets.arrow_writer import ArrowWriter

from meddel_hf import schema
from meddel_hf.data.cells import with_images_opened
from meddel_hf.data.given import Frames, as_data_set
from meddel_hf.data.identity import frames_changed, same_pool
from meddel_hf.data.parquet import PART_BYTES
from meddel_hf.data.privacy import OF_PEOPLE, Cleaner, check_people, id_key
from meddel_hf.errors import InvalidDataset, Mismatch
from meddel_hf.runtime.network import hub_errors, made_repository
from meddel_hf.runtime.similar import did_you_mean
from meddel_hf.runtime.spacing import evenly_spaced
from meddel_hf.runtime.words import plural
from meddel_hf.selection.answer import Answer
from meddel_hf.selection.card import describe_subset, for_others
from meddel_hf.selection.notebook import of_rows, table

_SHOWN = 12  # frames in a notebook
_CURE_OF_MORE = (
    "of a pool that grew, embed what is new (meddel embed --from) and extend the selection (meddel select --extend); "
    "frames that were forgotten have to leave the pool, too"
)


class Subset(Dataset):  # type: ignore[misc]  # datasets has no types
    """What `Selection.filter` returns. `push_to_hub` adds how the rows were chosen to the data set's card.

    id_column: the column of the pool's ids, None where ids are row numbers.
    Transformations (`map`, `filter`, `with_format`, ...) return a plain Dataset, which no longer is what the selection
    says.
    """

    selection: Answer
    id_column: str | None

    @classmethod
    def of(cls, dataset: Dataset, selection: Answer, id_column: str | None) -> Subset:
        subset = cls(dataset.data, dataset.info, dataset.split, dataset._indices, dataset._fingerprint)
        if dataset._format_type is not None:
            subset.set_format(**dataset.format)
        subset.selection, subset.id_column = selection, id_column
        return subset

    def __deepcopy__(self, memo: dict[int, Any]) -> Dataset:
        """A plain Dataset: a transformation of `datasets` that does not make a new one changes a deep copy."""
        plain = Dataset(self.data, self.info, self.split, self._indices, self._fingerprint)
        plain.set_format(**self.format)
        return copy.deepcopy(plain, memo)

    def _repr_html_(self) -> str:
        """In a notebook: how many frames of how many, the columns, and some of the frames."""
        column, ids = self.selection.origin.image_column, self.id_column
        heads = [("frames", f"{len(self):,} of {len(self.selection):,}"), ("columns", ", ".join(self.column_names))]
        if column not in self.column_names or not len(self):
            return table(("", ""), heads)
        plain = self.with_format(None)
        if isinstance(self.features[column], Image):
            plain = plain.cast_column(column, Image(decode=False))
        rows = {int(place): plain[int(place)] for place in evenly_spaced(len(self), _SHOWN)}
        return table(("", ""), heads) + of_rows(
            [(str(row[ids]) if ids else f"row {place}", row[column]) for place, row in rows.items()]
        )

    def push_to_hub(
        self,
        repo_id: str,
        *args: Any,  # as in datasets' own
        strip_metadata: bool = False,
        hash_ids: str | Path | None = None,
        yes_with_metadata: bool = False,
        **kwargs: Any,
    ) -> Any:
        """As `Dataset.push_to_hub`, with images that open as pictures; then the card says how the subset was chosen.

        strip_metadata:    leave metadata out of the images' files; no pixel changes.
        hash_ids:          file of the key by which ids and groups are hashed, made where there is none.
        yes_with_metadata: publish names, positions and serial numbers that stand in images, and columns that are about
                           somebody, such as patient, as they are; else they are an error.

        Raises InvalidArgument where the repository is to be private and is there for all to see.
        """
        from huggingface_hub import HfApi

        cleaner = self.cleaner(strip_metadata, None if hash_ids is None else id_key(hash_ids))
        about = [name for name in OF_PEOPLE if hash_ids is None and name in self.column_names]
        columns = self.with_format(None).select_columns(about)[:] if about else {}
        check_people(repo_id, columns, yes_with_metadata)
        with tempfile.TemporaryDirectory() as scratch, hub_errors(repo_id):
            made_repository(HfApi(token=kwargs.get("token")), repo_id, "dataset", kwargs.get("private"))
            ready, sizes = self._made_ready(cleaner, Path(scratch))
            if not strip_metadata:
                cleaner.findings.check(repo_id, yes_with_metadata)
            cleaner.findings.tell(stripped=strip_metadata)
            if not {"num_shards", "max_shard_size"} & kwargs.keys():
                kwargs["num_shards"] = shards_for(sizes)
            commit = ready.push_to_hub(repo_id, *args, **kwargs)
            revision = getattr(commit, "pr_revision", None) or kwargs.get("revision")
            described = for_others(self.selection, None)
            describe_subset(described, repo_id, token=kwargs.get("token"), revision=revision)
        return commit

    def cleaner(self, strip_metadata: bool, key: bytes | None) -> Cleaner:
        """What makes the rows of `with_images_opened(subset)` ready for others."""
        return Cleaner(with_images_opened(self).features, strip_metadata, key, self.id_column)

    def _made_ready(self, cleaner: Cleaner, scratch: Path) -> tuple[Dataset, list[int]]:
        """The data set to push, and the size of each row in bytes. Where rows change they are written to `scratch`."""
        opened = with_images_opened(self)
        sizes: list[int] = []
        if not cleaner.strip and cleaner.key is None:
            sizes += [row.nbytes for row in cleaner.rows(opened)]
            return opened, sizes
        path = str(scratch / "rows.arrow")
        with ArrowWriter(path=path, features=cleaner.published, writer_batch_size=1) as writer:
            for row in cleaner.rows(opened):
                sizes.append(row.nbytes)
                writer.write_table(row)
            writer.finalize()
        return Dataset.from_file(path, split=self.split), sizes


def shards_for(sizes: list[int], most: int = PART_BYTES) -> int:
    """The smallest number of shards of equally many rows of which none is larger than `most` bytes, or has one row."""
    ends = np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))])
    number = max(1, int(-(-ends[-1] // most)))
    while number < len(sizes):
        least, more = divmod(len(sizes), number)  # as Dataset.shard cuts them
        cuts = np.concatenate([[0], np.cumsum([least + 1] * more + [least] * (number - more))])
        if np.diff(ends[cuts]).max() <= most:
            break
        number += 1
    return min(number, max(1, len(sizes)))


def chosen(selection: Answer, given: Frames, id_column: str | None) -> Subset | IterableDataset:
    """The rows of a pool that `selection` keeps; see `Selection.filter`."""
    dataset = as_data_set(given)
    if selection.origin.row_ids:
        return _by_row(selection, dataset)
    if id_column is None:  # that of the embedded data set, or that of what this program writes
        here = dataset.column_names or []
        own = selection.origin.id_column
        id_column = own if own in here or schema.ID not in here else schema.ID
    pool, kept = set(selection.ids), set(selection.kept)
    if isinstance(dataset, IterableDataset):
        if dataset.column_names is not None and id_column not in dataset.column_names:
            raise InvalidDataset(_no_ids(dataset, id_column))
        return dataset.filter(lambda row: _stays(str(row[id_column]), pool, kept))
    by_column = id_column in dataset.column_names
    ids = replace(selection.origin, id_column=id_column).ids_in(dataset, pool)
    if ids is None:
        raise InvalidDataset(_no_ids(dataset, id_column))
    unknown = [i for i in ids if i not in pool]
    if unknown or len(ids) != len(pool) or len(set(ids)) != len(pool):
        there, cure = f"{len(ids):,} rows, {len(set(ids)):,} of them with ids of their own", "give the pool itself"
        if unknown:
            there = f"{plural(len(unknown), 'id that is', 'ids that are')} not in the pool, such as {unknown[0]!r}"
            cure = _CURE_OF_MORE if pool.issubset(ids) else cure
        raise Mismatch(
            f"the data set is not the pool that this selection was made from ({len(pool):,} rows): it has {there}; "
            f"{cure}"
        )
    if frames_changed(dataset, selection.origin.fingerprint):
        raise Mismatch(
            f"frames of this pool changed since they were embedded: the ids are the same and their content is not "
            f"(fingerprint {selection.origin.fingerprint}, now {dataset._fingerprint}): embed the pool again, into "
            "another folder, and select from that"
        )
    rows = [row for row, i in enumerate(ids) if i in kept]
    return Subset.of(dataset.select(rows), selection, id_column if by_column else None)


def _no_ids(dataset: Dataset | IterableDataset, id_column: str) -> str:
    columns = dataset.column_names or []
    return (
        f"the data set has no column {id_column!r} (it has {', '.join(columns)}), nor files whose paths tell the ids "
        f"of this pool: name the column that holds them with id_column={did_you_mean(id_column, columns)}"
    )


def _stays(id: str, pool: set[str], kept: set[str]) -> bool:
    if id not in pool:
        raise Mismatch(
            f"the stream holds the id {id!r}, which is not in the pool of this selection ({len(pool):,} rows): "
            "give the pool itself"
        )
    return id in kept


def _by_row(selection: Answer, dataset: Dataset | IterableDataset) -> Subset:
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
    return Subset.of(dataset.select(kept), selection, None)
