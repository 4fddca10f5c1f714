"""What an earlier store holds of a pool's frames: they are known again by their content, wherever they stand now.

The embedding of a frame depends on its bytes, the encoder and the options, and not on the frames beside it in a forward
pass, as long as passes are of one size. So what is carried over is what embedding it again would give, bit for bit; of
a few frames that is looked at in each run, since another machine, or another version of a library, may round otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from meddel_hf.embedding.store import EmbeddingStore, Shard
from meddel_hf.errors import Mismatch

LOOKED_AT = 8  # frames that are embedded again, to see that they come out as they did


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a shard, ascending.

    rows:    (m,) int64 row numbers in the pool.
    reasons: why a row has no embedding, None where it has one.
    digests: of the bytes of each row's frame, None where they could not be read.
    remarks: what the owner of each row's frame should know of it, or None.
    tensors: of the readable ones among them, such as their embeddings.
    """

    rows: NDArray[np.int64]
    reasons: list[str | None]
    digests: list[bytes | None]
    remarks: list[str | None]
    tensors: Mapping[str, NDArray[Any]]

    @property
    def readable(self) -> NDArray[np.bool_]:
        return np.array([reason is None for reason in self.reasons], bool)

    def as_shard(self, index: int, ids: list[str], content: str = "") -> Shard:
        """All rows of a shard, as it is written. ids: of each row; content: as of `Shard`."""
        tensors = dict(self.tensors)
        embeddings = tensors.pop("embeddings")
        start = int(self.rows[0])
        return Shard(index, start, ids, self.reasons, embeddings, content, tensors, self.digests, self.remarks)

    def merged(self, other: Part) -> Part:
        """Both, which have no row in common, in the order of their rows."""
        order = np.argsort(np.concatenate([self.rows, other.rows]))
        among = np.argsort(np.concatenate([self.rows[self.readable], other.rows[other.readable]]))
        reasons, digests = self.reasons + other.reasons, self.digests + other.digests
        remarks = self.remarks + other.remarks
        return Part(
            np.concatenate([self.rows, other.rows])[order],
            [reasons[place] for place in order],
            [digests[place] for place in order],
            [remarks[place] for place in order],
            {name: np.concatenate([here, other.tensors[name]])[among] for name, here in self.tensors.items()},
        )

    def with_tensors(self, names: Sequence[str]) -> Part:
        """With these tensors alone."""
        return replace(self, tensors={name: self.tensors[name] for name in names})

    def without(self, rows: NDArray[np.int64]) -> Part:
        """All rows but these."""
        stays = ~np.isin(self.rows, rows)
        among = stays[self.readable]
        return Part(
            self.rows[stays],
            [reason for reason, here in zip(self.reasons, stays, strict=True) if here],
            [digest for digest, here in zip(self.digests, stays, strict=True) if here],
            [remark for remark, here in zip(self.remarks, stays, strict=True) if here],
            {name: here[among] for name, here in self.tensors.items()},
        )


@dataclass(frozen=True, eq=False)
class Carried:
    """The frames of a pool that an earlier store holds.

    store: the earlier one.
    row:   (n,) int64, of each row of the pool the row of that store whose frame has the same bytes; -1: it is new.
    """

    store: EmbeddingStore
    row: NDArray[np.int64]

    def new(self, start: int, stop: int) -> NDArray[np.int64]:
        """Rows of a range that are not known."""
        return start + np.flatnonzero(self.row[start:stop] < 0)

    def readable(self, start: int, stop: int, most: int) -> NDArray[np.int64]:
        """The first rows of a range that are known and have an embedding."""
        known = start + np.flatnonzero(self.row[start:stop] >= 0)
        return known[np.isin(self.row[known], self.store.rows)][:most]

    def part(self, start: int, stop: int) -> Part:
        """What the earlier store holds of the known rows of a range."""
        rows = start + np.flatnonzero(self.row[start:stop] >= 0)
        old = self.row[rows]
        reasons = [self._reasons.get(int(row)) for row in old]
        good = np.array([reason is None for reason in reasons], bool)
        known = self.store.digests
        digests = [None] * len(old) if known is None else known.take(pa.array(old)).to_pylist()
        places = np.searchsorted(self.store.rows, old[good])
        tensors = {name: self._gathered(name, places) for name in self.store.tensors}
        return Part(rows, reasons, digests, self._remarks(old), tensors)

    def check(self, again: Part, rows: NDArray[np.int64]) -> None:
        """Raises Mismatch where known rows do not come out as they stand in the earlier store. again: with `rows`."""
        old = np.searchsorted(self.store.rows, self.row[rows])
        lost = sorted({reason for row, reason in zip(again.rows, again.reasons, strict=True) if reason and row in rows})
        if lost:
            raise Mismatch(f"frames of {self.store.folder} can no longer be read ({lost[0]}): {_CURE}")
        now = np.isin(again.rows[again.readable], rows)
        for name, tensor in again.tensors.items():
            before = self._gathered(name, old)
            after = tensor[now].astype(before.dtype)  # as it would be stored there
            if not np.array_equal(before, after):
                far = float(np.abs(before.astype(np.float64) - after.astype(np.float64)).max())
                raise Mismatch(
                    f"frames that {self.store.folder} holds come out differently here ({name}, by up to {far:.2g}), as "
                    f"on another kind of machine or with other versions of libraries: {_CURE}"
                )

    @cached_property
    def _reasons(self) -> dict[int, str]:
        return {row["row"]: row["reason"] for row in self.store.unreadable.to_pylist()}

    def _remarks(self, old: NDArray[np.int64]) -> list[str | None]:
        """What the store remarks of its rows `old`."""
        known = self._remarked
        places = np.searchsorted(known, old)
        there = np.append(known, -1)[places] == old
        texts = iter(self.store.remarks["remark"].take(pa.array(places[there])).to_pylist())
        return [next(texts) if here else None for here in there]

    @cached_property
    def _remarked(self) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = self.store.remarks["row"].to_numpy()
        return rows

    def _gathered(self, tensor: str, places: NDArray[np.int64]) -> NDArray[Any]:
        """One tensor's entries at `places` among the store's embeddings, read from the shards that hold them."""
        of = np.searchsorted(self.store._starts, places, side="right") - 1
        answer: NDArray[Any] | None = None
        for shard in np.unique(of):
            mapped = self.store._whole_shard(int(shard), tensor)
            here = of == shard
            answer = np.empty((len(places), *mapped.shape[1:]), mapped.dtype) if answer is None else answer
            answer[here] = mapped[places[here] - self.store._starts[shard]]
        if answer is None:
            whole = self.store._whole_shard(0, tensor)
            answer = np.empty((0, *whole.shape[1:]), whole.dtype)
        return answer


_CURE = "embed where that store was made, or leave --from out, and all frames are embedded"


def places(digests: pa.FixedSizeBinaryArray, among: pa.FixedSizeBinaryArray) -> NDArray[np.int64]:
    """Of each digest, its first place among others; -1 where it is not there, or null. (n,) int64."""
    wanted, here = _as_numpy(digests)
    there, valid = _as_numpy(among)
    known, first = np.unique(there[valid], return_index=True)
    answer = np.full(len(wanted), -1, np.int64)
    if len(known):
        at = np.searchsorted(known, wanted).clip(max=len(known) - 1)
        same = here & (known[at] == wanted)
        answer[same] = np.flatnonzero(valid)[first[at[same]]]
    return answer


def _as_numpy(digests: pa.FixedSizeBinaryArray) -> tuple[NDArray[np.bytes_], NDArray[np.bool_]]:
    """((n,) 16 bytes each, (n,) whether there is one)."""
    valid = digests.is_valid().to_numpy(zero_copy_only=False)
    data = digests.buffers()[1]
    if data is None or not len(digests):
        return np.zeros(len(digests), "S16"), valid
    return np.frombuffer(data, "S16")[digests.offset : digests.offset + len(digests)], valid
