"""`Task`: what is learned from the frames that a selector chose, and how well it does on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from datasets import Dataset, Features, Value
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.data.ids import checked_ids_of
from meddel_hf.downstream.probing.labels import Labelled
from meddel_hf.downstream.scores import Measure
from meddel_hf.downstream.splits import TEST_SHARE
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import Mismatch
from meddel_hf.runtime.manifest import fingerprint

Rows = NDArray[np.int64]
# Columns that a selector may read: known before anyone labels. The first three are there in any case.
_ALWAYS = (schema.SOURCE, schema.CENTER, schema.GROUP)
_OPEN = (*_ALWAYS, schema.PATIENT, schema.VIDEO)


class Task(Protocol):
    """A head that is trained on chosen frames alone; rows are those of its `Frames`."""

    @property
    def measure(self) -> Measure: ...

    @property
    def identity(self) -> str:
        """Digest of what it learns from: features and labels."""

    def score(self, chosen: Rows, test: Rows) -> float:
        """Train on the rows `chosen`, and on nothing else; the measure on the rows `test`, a fraction in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The labelled frames that have an embedding, in the store's order.

    ids:     (n,). vectors: (n, d) float32, what selectors compare frames by.
    groups:  (n,) video, sequence or patient; a frame without one is a group of its own. Splits part none.
    strata:  (n,) what each split shares out evenly: the class, or of masks the centre.
    columns: (n rows) source, center and group, null where not known: what a selector may read. Never a label.
    """

    ids: list[str]
    vectors: NDArray[np.floating]
    groups: list[str]
    strata: list[str]
    columns: Dataset

    @classmethod
    def of(cls, store: EmbeddingStore, dataset: Dataset, labelled: Labelled) -> Frames:
        """labelled: strata and groups by id. Raises Mismatch where the store lacks an id of them."""
        missing = sorted(set(labelled.labels).difference(store.pool_ids))
        if missing:
            raise Mismatch(
                f"{len(missing):,} of {len(labelled.labels):,} labelled frames are not in {store.folder}, such as "
                f"{missing[0]!r}: embed the labelled frames, with the ids that the labels have"
            )
        at = [place for place, row in enumerate(store.rows.tolist()) if store.pool_ids[row] in labelled.labels]
        ids = [store.pool_ids[row] for row in store.rows[at].tolist()]
        groups = [labelled.groups.get(id, id) for id in ids]
        strata = [labelled.labels[id] for id in ids]
        return cls(ids, np.asarray(store.embeddings[at]), groups, strata, _columns(dataset, ids))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def identity(self) -> str:
        parts = [repr(part) for part in (self.ids, self.groups, self.strata)]
        return fingerprint(*parts, np.ascontiguousarray(self.vectors).tobytes())

    def split(self, seed: int, test_share: float = TEST_SHARE) -> tuple[Rows, Rows]:
        """(rows that may be chosen, rows that are tested): no group is parted, every stratum is shared out."""
        named = {id: group for id, group in zip(self.ids, self.groups, strict=True) if group != id}
        labelled = Labelled(dict(zip(self.ids, self.strata, strict=True)), named, {}, 0)
        parts = labelled.split(official=False, test_share=test_share, seed=seed)
        tested = set(parts.test["test"])
        is_tested = np.array([id in tested for id in self.ids])
        return np.flatnonzero(~is_tested), np.flatnonzero(is_tested)


def all_ids(dataset: Dataset) -> list[str]:
    """Ids of a data set, or row numbers where it has none, as embedding and labels name them."""
    return checked_ids_of(dataset) if schema.ID in dataset.column_names else [str(row) for row in range(len(dataset))]


def _columns(dataset: Dataset, ids: Sequence[str]) -> Dataset:
    """Columns that are known before labelling, in the order of the ids; one source where the data set names none."""
    place = {id: row for row, id in enumerate(all_ids(dataset))}
    there = [name for name in _OPEN if name in dataset.column_names]
    values: dict[str, Any] = dataset.with_format(None).select_columns(there)[:] if there else {}
    columns = {name: [_text(values[name][place[id]]) for id in ids] for name in there}
    columns = {schema.SOURCE: ["labelled"] * len(ids), **dict.fromkeys(_ALWAYS[1:], [None] * len(ids)), **columns}
    return Dataset.from_dict(columns, features=Features(dict.fromkeys(columns, Value("string"))))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
