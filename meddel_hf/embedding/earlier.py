"""An earlier store of a pool that has grown since: may its embeddings be carried over, and what is left to embed?"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from meddel_hf.embedding.carried import LOOKED_AT, Carried, places
from meddel_hf.embedding.copies import Copies
from meddel_hf.embedding.known_again import known_again
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.resume import check_same
from meddel_hf.runtime.words import is_or_are, plural

if TYPE_CHECKING:
    from meddel_hf.data.pool import Pool

log = logging.getLogger(__name__)
Value = TypeVar("Value")
# What an embedding depends on besides the encoder's weights: the other options say where files are cut, and names.
_DECIDES = ("pooling", "precision", "device", "batch_size", "preprocessing", "view", "thumbnails")


@dataclass(frozen=True, eq=False)
class Earlier:
    """The store that a grown one is made from."""

    store: EmbeddingStore

    @classmethod
    def of(cls, store: EmbeddingStore | str | Path, out: str | Path) -> Earlier:
        """Raises InvalidArgument where `out` is its folder too, IncompleteStore where it is not finished."""
        store = store if isinstance(store, EmbeddingStore) else EmbeddingStore.load(store)
        if Path(out).resolve() == store.folder.resolve():
            raise InvalidArgument(
                f"{out} is the earlier store itself, by which selections know what they were made from: name another "
                "folder to write to, and delete the earlier one when nothing needs it"
            )
        return cls(store)

    @property
    def encoder(self) -> str:
        return str(self.store.manifest.arguments["encoder"])

    @property
    def revision(self) -> str | None:
        answer: str | None = self.store.manifest.arguments.get("revision")
        return answer

    def option(self, name: str, given: Value, usual: Value) -> Value:
        """What was given, or that of the store where it is the default."""
        there: Value | None = self.store.manifest.arguments.get(name)
        return there if given == usual and there is not None else given

    def check(self, arguments: Mapping[str, Any], parents: Mapping[str, str]) -> None:
        """Raises Mismatch where the same frames would be embedded otherwise than they were."""
        if self.store.digests is None:  # nothing is carried over
            return
        there = {**self.store.manifest.arguments, "view": self.store.view}
        for before, now in (
            ({"encoder": self.store.manifest.parents.get("encoder")}, {"encoder": parents["encoder"]}),
            ({name: there.get(name) for name in _DECIDES}, {name: arguments[name] for name in _DECIDES}),
        ):
            check_same(self.store.folder, before, now, "was made with", "leave --from out, and all frames are embedded")

    def carried(self, pool: Pool, *, tell: bool) -> Carried | None:
        """The pool's frames that the store holds; None where it cannot say. tell: log how many."""
        folder = self.store.folder
        if pool.ids is None:
            raise InvalidArgument(
                "the frames of a stream are not known before they are read: leave --streaming out, or --from"
            )
        if self.store.digests is None:
            if tell:
                log.warning(
                    "note: %s was made by an earlier version, which noted no digests of frames: all are embedded",
                    folder,
                )
            return None
        digests = pool.digests()
        carried = Carried(self.store, places(digests, self.store.digests))
        if tell:
            again = known_again(
                pa.chunked_array([pool.ids], pa.string()), digests, self.store.pool_id_column, self.store.digests
            )
            log.info(_summary(carried, again, pool.ids))
        return carried


def known_copies(store: EmbeddingStore, earlier: EmbeddingStore) -> Copies | None:
    """The mild copies in an earlier store, by rows of the grown one; those of frames that are gone are left out."""
    copies = earlier.copies
    if copies is None or store.digests is None or earlier.digests is None:
        return None
    row = places(earlier.digests.take(pa.array(copies.row)), store.digests)
    there, first = np.unique(row, return_index=True)
    first = first[there >= 0]
    vectors = {pooling: each[first] for pooling, each in copies.vectors.items()}
    return Copies(row[first], vectors, copies.thumbnails[first])


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """What is to be embedded of one shard, whose rows are `start` to `stop`.

    batches: row numbers of each. looked_at: those among them that are known, and are embedded to see that they come out
    as they did.
    """

    index: int
    start: int
    stop: int
    batches: Sequence[Sequence[int]]
    looked_at: NDArray[np.int64]


def planned(
    shards: Iterable[int], shard_rows: int, rows: int, batch_size: int, carried: Carried | None
) -> list[ShardPlan]:
    """Plans of the given shards of a pool; known frames are looked at in the first shard that has some."""
    plans, looked = [], False
    for index in shards:
        start, stop = index * shard_rows, min((index + 1) * shard_rows, rows)
        wanted: Sequence[int] = range(start, stop)
        again = np.zeros(0, np.int64)
        if carried is not None:
            again = again if looked else carried.readable(start, stop, LOOKED_AT)
            looked |= len(again) > 0
            wanted = np.union1d(carried.new(start, stop), again).tolist()
        batches = [wanted[at : at + batch_size] for at in range(0, len(wanted), batch_size)]
        plans.append(ShardPlan(index, start, stop, batches, again))
    return plans


def _summary(carried: Carried, again: NDArray[np.int64], ids: Sequence[str]) -> str:
    """again: of each row its row in the earlier store, -1 of a new one, as `known_again` tells."""
    before = carried.store.pool_ids
    known, has_bytes = again >= 0, carried.row >= 0
    renamed = sum(before[row] != id for row, id in zip(again, ids, strict=True) if row >= 0)
    new, copies, same = (int(rows.sum()) for rows in (~known, ~known & has_bytes, known & has_bytes))
    looked_at, gone = int((known & ~has_bytes).sum()), len(before) - int(known.sum())
    parts = [f"{new:,} of {plural(len(ids), 'frame')} {is_or_are(new)} new and {is_or_are(new)} embedded"]
    if copies:
        embedded = new - copies
        parts = [
            f"{new:,} of {plural(len(ids), 'frame')} {is_or_are(new)} new, {embedded:,} of them {is_or_are(embedded)} "
            f"embedded and {copies:,} {is_or_are(copies)} the same bytes as a known frame"
        ]
    parts.append(f"{same:,} {is_or_are(same)} carried over from {carried.store.folder}")
    parts += [f"{renamed:,} of them under another id"] if renamed else []
    parts += [f"{looked_at:,} that could not be read {is_or_are(looked_at)} tried again"] if looked_at else []
    parts += [f"{gone:,} of its frames {is_or_are(gone)} gone"] if gone else []
    return ", ".join(parts)
