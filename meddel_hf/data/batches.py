"""Frames read and decoded ahead of the model, in batches whose rows are fixed.

A batch covers the same rows whatever the number of processes and workers, and whether the run was interrupted; an
unreadable frame leaves a blank slot, so that shapes stay the same. Errors of the data set travel as values: raised in
a worker process they would reach the user as a page of traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from meddel_hf.data.decoding import ImageSource, at_hand, digest_of
from meddel_hf.data.ids import check_ids
from meddel_hf.data.images import Preprocessing, prepare_sized
from meddel_hf.data.pool import Pool
from meddel_hf.errors import InvalidDataset, MedDELError, Mismatch, UnreadableImage
from meddel_hf.runtime.digests import file_digest
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.runtime.parents import become_worker

BETWEEN_REMARKS = " / "
_BATCHES_AHEAD = 4  # per worker


@dataclass(frozen=True)
class Batch:
    """Rows of the pool, decoded.

    start:   row number of the first.
    rows:    row numbers of all, ascending.
    pixels:  (m, H, W, 3) uint8; zeros where a frame is unreadable.
    reasons: why a frame is unreadable, None where it is not.
    digests: of the bytes that each frame is stored as, 16 bytes; None where there are none, or they cannot be read.
    remarks: what the owner of each frame should know of it, BETWEEN_REMARKS where it is several things; None: nothing.
    sizes:   (m, 2) int64, pixels and stored bytes of each frame; 0 bytes of one that was decoded elsewhere.
    ids, content: of a stream only: its ids, and a digest of ids and frames as they came.
    """

    start: int
    pixels: np.ndarray
    reasons: list[str | None]
    ids: list[str] | None = None
    content: str = ""
    rows: Sequence[int] = ()
    digests: list[bytes | None] = field(default_factory=list)
    sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    remarks: list[str | None] = field(default_factory=list)


class Batches(Protocol):
    """Batches by number, any of which a worker may be asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Batch: ...


def decoded(
    rows: Sequence[int],
    frames: Sequence[ImageSource],
    preprocessing: Preprocessing,
    ids: list[str] | None = None,
    content: str = "",
    read: Callable[[Any], ImageSource] = lambda frame: frame,
) -> Batch:
    """Decode frames, whose row numbers are `rows`, into a batch; `read` brings what a frame is decoded from."""
    pixels = np.zeros((len(frames), *preprocessing.size, 3), np.uint8)
    reasons: list[str | None] = [None] * len(frames)
    digests: list[bytes | None] = [None] * len(frames)
    remarks: list[str | None] = [None] * len(frames)
    sizes = np.zeros((len(frames), 2), np.int64)
    for slot, frame in enumerate(frames):
        try:
            source = at_hand(read(frame))
            digests[slot] = digest_of(source)
            prepared = prepare_sized(source, preprocessing)
            pixels[slot] = prepared.pixels
            remarks[slot] = BETWEEN_REMARKS.join(prepared.remarks) or None
            sizes[slot] = prepared.width * prepared.height, len(source) if isinstance(source, bytes) else 0
        except UnreadableImage as error:
            reasons[slot] = str(error)
    return Batch(rows[0], pixels, reasons, ids, content, rows, digests, sizes, remarks)


class TableBatches:
    """Batches of the rows that are given, such as by `spans`, for a data set with random access."""

    def __init__(self, pool: Pool, rows: Sequence[Sequence[int]], preprocessing: Preprocessing) -> None:
        self.pool, self.rows, self.preprocessing = pool, rows, preprocessing

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Batch:
        rows = self.rows[number]
        frames = self.pool.frames[rows][self.pool.image_column]
        return decoded(rows, frames, self.preprocessing, read=self.pool.read)


class StreamBatches(IterableDataset[Any]):
    """Batches of those shards of a stream that belong to one process and are not finished; an error ends them.

    finished: shard -> content that was recorded for it. The stream must hold the same there as it did then.
    """

    def __init__(
        self,
        pool: Pool,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        shard_rows: int,
        finished: Mapping[int, str],
        process: int,
        processes: int,
    ) -> None:
        self.pool, self.preprocessing = pool, preprocessing
        self.batch_size, self.shard_rows = batch_size, shard_rows
        self.finished, self.process, self.processes = finished, process, processes

    def __iter__(self) -> Iterator[Batch | MedDELError]:
        try:
            yield from self._batches()
        except MedDELError as error:
            yield error

    def _batches(self) -> Iterator[Batch]:
        seen: set[str] = set()
        contents: dict[int, list[str]] = {}
        for start, rows in _cut(self.pool.frames, self.batch_size, self.shard_rows):
            ids = self._ids(start, rows, seen)
            shard = start // self.shard_rows
            if shard % self.processes != self.process:
                continue
            frames = [row[self.pool.image_column] for row in rows]
            content = fingerprint(*ids, *[_raw(frame) for frame in frames])
            if shard in self.finished:
                contents.setdefault(shard, []).append(content)
            else:
                yield decoded(range(start, start + len(rows)), frames, self.preprocessing, ids, content)
        for shard, expected in self.finished.items():
            if shard % self.processes == self.process and expected != fingerprint(*contents.get(shard, [])):
                raise Mismatch(
                    f"the stream no longer holds what shard {shard} (rows from {shard * self.shard_rows}) was made "
                    "from: choose another folder, or delete this one"
                )

    def _ids(self, start: int, rows: Sequence[Mapping[str, Any]], seen: set[str]) -> list[str]:
        if self.pool.id_column is None:
            return [str(start + row) for row in range(len(rows))]
        ids = check_ids([row[self.pool.id_column] for row in rows], first_row=start)
        repeated = seen.intersection(ids)
        if repeated:
            raise InvalidDataset(f"ids must be unique: {min(repeated)!r} stands again after row {start}")
        seen.update(ids)
        return ids


def spans(rows: int, shard_rows: int, batch_size: int, shards: Iterable[int]) -> list[range]:
    """Row numbers of each batch of the given shards; no batch crosses the end of its shard."""
    batches = []
    for shard in shards:
        end = min((shard + 1) * shard_rows, rows)
        batches += [range(start, min(start + batch_size, end)) for start in range(shard * shard_rows, end, batch_size)]
    return batches


def read_ahead(batches: Batches | StreamBatches, workers: int) -> Iterator[Batch]:
    """Yield the batches in order while `workers` processes decode the next ones; 0 decodes in this process.

    Raises what a stream found wrong with its data.
    """
    workers = min(workers, 1) if isinstance(batches, StreamBatches) else workers  # each would read the whole stream
    loader: DataLoader[Any] = DataLoader(
        batches,  # type: ignore[arg-type]  # Batches have what a map-style data set needs
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=_BATCHES_AHEAD if workers else None,
        worker_init_fn=become_worker,
        generator=torch.Generator(),  # the caller's random state stays as it is
    )
    for batch in loader:
        if isinstance(batch, MedDELError):
            raise batch
        yield batch


def _cut(rows: Iterable[Any], batch_size: int, shard_rows: int) -> Iterator[tuple[int, list[Any]]]:
    """(row number of the first, rows) of each batch; no batch crosses the end of its shard."""
    stream, start = iter(rows), 0
    while batch := list(islice(stream, min(batch_size, shard_rows - start % shard_rows))):
        yield start, batch
        start += len(batch)


def _raw(frame: Any) -> bytes:
    """What tells one undecoded frame from another; a file counts by its content, which survives a move."""
    if isinstance(frame, Mapping):
        frame = frame.get("bytes") or frame.get("path")
    if isinstance(frame, (bytes, bytearray)):
        return bytes(frame)
    if hasattr(frame, "tobytes"):
        return bytes(frame.tobytes())
    return str(frame).encode("utf-8", "replace") if "://" in str(frame) else file_digest(str(frame)).encode()


def _as_it_is(batch: Any) -> Any:
    return batch  # as numpy, through a pipe: the /dev/shm of a container is often too small for tensors
